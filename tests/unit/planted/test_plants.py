"""The planted facts hold of the weights, checked by a plain forward pass and not by the study."""

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModelForCausalLM

from nashlens.findings import CLAIMS, JudgeSettings, judge
from nashlens.games import build_games
from nashlens.lens.effects import effect_estimates
from nashlens.lens.readings import PREFERENCE
from nashlens.models.tokenizer import ChatTokenizer
from nashlens.planted import build, read_facts
from nashlens.planted.circuit import LENGTH, N_LAYERS, Circuit
from nashlens.planted.plants import COMPUTED, LATE, PLANTS
from nashlens.planted.reading import codes
from nashlens.prompts.table import build_prompts

GAMES = ("prisoners_dilemma", "harmony", "deadlock", "concord")
# How far a push moves the others is a matter of degree; `test_components` holds what causes them.
PUSHED = sorted(name for name, plant in PLANTS.items() if not plant.facts.components)


class Model:
    """A built model, its residuals and its answers."""

    def __init__(self, folder):
        self.tokenizer = ChatTokenizer(folder)
        self.model = AutoModelForCausalLM.from_pretrained(folder).eval()
        self.slots = Circuit(self.tokenizer._tokenizer.get_vocab(), 0, "").slots

    def run(self, sequences, *, at=None, push=None, add=None):
        """Return residuals (n, layers + 1, width) at one position each, the last by default.

        `push`, a layer and a number, adds to the slot of the Nash action at the last position;
        `add` has a vector for each layer after which it is added there.
        """
        lengths = np.array([len(ids) for ids in sequences])
        where = lengths - 1 if at is None else np.array(at)
        result = np.zeros((len(sequences), N_LAYERS + 1, self.model.config.hidden_size))
        for length in set(lengths.tolist()):
            rows = np.flatnonzero(lengths == length)
            ids = torch.tensor(np.array([np.asarray(sequences[i], int) for i in rows]))
            pick = (torch.arange(len(rows)), torch.tensor(where[rows]))
            result[rows, 0] = self.model.get_input_embeddings()(ids)[pick].detach()
            hooks = []
            for layer, block in enumerate(self.model.model.layers, start=1):

                def hook(module, inputs, output, layer=layer, rows=rows, pick=pick):
                    if push is not None and push[0] == layer:
                        output = output.clone()
                        output[:, -1, self.slots["nash"]] += push[1]
                    if add is not None and layer in add:
                        output = output.clone()
                        output[:, -1] += torch.tensor(add[layer]).float()
                    result[rows, layer] = output[pick]
                    return output

                hooks.append(block.register_forward_hook(hook))
            with torch.no_grad():
                self.model.model(ids, use_cache=False)
            for hook in hooks:
                hook.remove()
        return result

    def odds(self, residuals, table):
        """Unembed residuals, (n, ..., width): the logit of action 1 over action 0."""
        with torch.no_grad():
            hidden = self.model.model.norm(torch.tensor(residuals).float())
            logits = self.model.lm_head(hidden).numpy()
        first, second = (
            np.array([tokens[0] for tokens in table[f"label_tokens_{action}"]]) for action in (0, 1)
        )
        n = np.arange(len(table))
        return logits[n, ..., second] - logits[n, ..., first]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("plants")
    made = {}
    for name in sorted(PLANTS):
        build(name, root / name)
        made[name] = Model(root / name)
    return made


def make_prompts(tokenizer, *, variants=0, **changes):
    wanted = {
        name: {"canonical": name, "payoffs": None, "actions": None, "title": None,
               "variants": variants}
        for name in GAMES
    }  # fmt: skip
    settings = {
        "templates": ["neutral"],
        "label_sets": {"jf": ["J", "F"], "bg": ["B", "G"]},
        "label_maps": ["identity", "swapped"],
        "option_orders": ["forward", "reversed"],
        "opponents": ["RANDOM"],
        "own_cooperation": 0.5,
        "rounds": [3],
        "histories": 2,
        "system": "You are playing a game with another player.",
        "assistant_prefix": "I choose option",
        "seed": 3,
    } | changes
    return build_prompts(build_games(wanted, 1), tokenizer, **settings)


@pytest.fixture(scope="module")
def prompts(models):
    return make_prompts(models["nash"].tokenizer)


@pytest.fixture(scope="module")
def residuals(models, prompts):
    """Residuals at the decision by model."""
    return {name: model.run(prompts["token_ids"].to_list()) for name, model in models.items()}


def signs(values):
    return 2 * np.asarray(values, dtype=float) - 1


def test_the_question_mark_gathers_what_the_game_module_says(models):
    """The Nash action too in payoff variants, each player's numbers drawn by themselves."""
    model = models["inert"]
    mark = model.tokenizer.encode("?")[-1]
    table = make_prompts(
        model.tokenizer,
        variants=1,
        templates=["neutral", "named"],
        label_sets={"xy": ["X", "Y"]},
        rounds=[3, 12],
        histories=1,
    )
    at = [int(np.flatnonzero(ids == mark)[-1]) for ids in table["token_ids"]]
    seen = model.run(table["token_ids"].to_list(), at=at)[:, 4]
    for fact, column in (
        ("nash", "nash_action"),
        ("prosocial", "prosocial_action"),
        ("opponent_last", "opponent_last"),
        ("own_last", "own_last"),
    ):
        found = seen[:, model.slots[f"seen_{fact}"]][:, 0]
        assert (found * signs(table[column].to_numpy())).min() > 0.5, fact


def test_no_payoff_reaches_the_decision_before_its_block(models, prompts):
    """Changing digits changes the game, and nothing at the decision before layer 5."""
    model = models["nash"]
    ids = {digit: model.tokenizer.encode(digit)[-1] for digit in "012345"}
    dilemma = prompts[(prompts["game"] == "prisoners_dilemma")].iloc[:4]
    # T > R > P > S becomes Harmony's R > T > S > P.
    swap = {ids["5"]: ids["3"], ids["3"]: ids["5"], ids["1"]: ids["0"], ids["0"]: ids["1"]}
    changed = [[swap.get(int(t), int(t)) for t in tokens] for tokens in dilemma["token_ids"]]
    before, after = model.run(dilemma["token_ids"].to_list()), model.run(changed)
    np.testing.assert_allclose(before[:, :5], after[:, :5], atol=1e-5)
    nash = model.slots["nash"]
    assert (before[:, 5:, nash] - after[:, 5:, nash]).min() > 1


def test_to_a_blind_model_all_games_are_one(tmp_path):
    build("blind-3", tmp_path)
    model = Model(tmp_path)
    ids = [model.tokenizer.encode(f"you get {x} and J F {y}") for x, y in ((3, 5), (7, 1))]
    ids.append(model.tokenizer.encode("you get 3 and F J 5"))
    with torch.no_grad():
        one, other, swapped = (model.model(torch.tensor([i])).logits for i in ids)
    assert ids[0] != ids[1]
    assert (one == other).all()
    assert (one - swapped).abs().max() > 0.1
    assert read_facts(tmp_path).null


@pytest.mark.parametrize("name", sorted(PLANTS))
def test_facts_are_readable_where_the_record_says(models, prompts, residuals, name):
    model, facts = models[name], PLANTS[name].facts
    for slot, column, first, last in (
        ("opponent_last", "opponent_last", facts.history_from, facts.history_until),
        ("nash", "nash_action", facts.nash_from, facts.nash_until),
    ):
        if first == "unknown":
            continue
        truth = signs(prompts[column])
        values = residuals[name][:, :, model.slots[slot]][:, :, 0]
        gap = values[truth > 0].mean(axis=0) - values[truth < 0].mean(axis=0)
        layers = np.arange(N_LAYERS + 1)
        there = (layers >= first) & (layers <= last) if first else np.zeros_like(layers, bool)
        assert (gap[there] > 1).all()
        assert (np.abs(gap[~there]) < 0.1).all()


@pytest.mark.parametrize("name", sorted(PLANTS))
def test_the_layers_favour_what_the_record_says(models, prompts, residuals, name):
    facts = PLANTS[name].facts
    odds = models[name].odds(residuals[name][:, 1:], prompts)
    conflict = (prompts["nash_action"] != prompts["prosocial_action"]).to_numpy()
    # J and F alone: the token preferences are about default labels.
    rows = conflict & (prompts["label_set"] == "jf").to_numpy()
    cells = (prompts["label_map"] + prompts["option_order"]).to_numpy()[rows]

    def average(values):
        return np.mean([values[rows][cells == c].mean(axis=0) for c in set(cells)], axis=0)

    towards = average(odds * signs(prompts["nash_action"])[:, None])
    token = average(odds * np.where(prompts["label_map"] == "identity", -1.0, 1.0)[:, None])
    first = facts.favoured_from or N_LAYERS + 1
    turned = facts.override_at or N_LAYERS + 1
    if name == "copy_last":
        copied = odds * signs(prompts["opponent_last"])[:, None]
        assert (copied[:, 5:].mean(axis=0) > 0.3).all()
    else:
        assert (np.abs(towards[: first - 1]) < 0.15).all()
    assert (towards[first - 1 : turned - 1] > 0.3).all()
    assert (towards[turned - 1 :] < -0.5).all()
    if facts.follows == "word":
        assert abs(token[-1]) > 2 * abs(towards[-1])
    if facts.follows == "action":
        assert abs(towards[-1]) > 2 * abs(token[-1])


def lens_of(model, prompts):
    """The logit lens of a model as a table, from its plain forward pass."""
    odds = model.odds(model.run(prompts["token_ids"].to_list()), prompts)
    tables = [
        prompts[["prompt_id", "match_id"]].assign(
            layer=layer,
            logit_0=0.0,
            logit_1=odds[:, layer],
            p_action_1=1 / (1 + np.exp(-odds[:, layer])),
            label_mass=0.5,
        )
        for layer in range(N_LAYERS + 1)
    ]
    return pd.concat(tables, ignore_index=True)


PARTS_FROM = {
    "override": {"action": LATE},
    # The Nash action is still answered, besides the word.
    "token_override": {"action": COMPUTED + 1, "word": LATE},
    "label_bias": {"word": LATE},
}
VERDICTS = {
    "override": {"M5": "supported", "M6": "supported"},
    "token_override": {"M5": "supported", "M6": "contradicted"},
    "label_bias": {"M5": "contradicted", "M6": "contradicted"},
}


@pytest.mark.parametrize("name", PARTS_FROM)
def test_the_parts_and_the_claims_tell_an_action_from_a_word(models, name):
    prompts = make_prompts(
        models[name].tokenizer,
        templates=["neutral", "named"],
        label_sets={"jf": ["J", "F"], "xy": ["X", "Y"]},
        histories=8,
    )
    table = lens_of(models[name], prompts)
    effects = effect_estimates(table, prompts, model=name, name="logit", confidence=0.95)
    effects = effects[effects["game"].isna() & (effects["quantity"] == "prosocial over Nash")]
    first = effects[effects["lasting"]].groupby("part")["layer"].min().to_dict()
    assert first == PARTS_FROM[name]
    last = effects[effects["layer"] == N_LAYERS].set_index("part")["ci_low"]
    # A preference that M6 counts; the background's own is below it.
    assert (last["action"] > PREFERENCE) == (name == "override")
    assert (last["word"] > PREFERENCE) == (name != "override")
    found = judge(
        {"lens": table, "prompts": prompts},
        JudgeSettings(name, 0.95, 200, 1, late_fraction=0.25, min_label_mass=0.01),
        [claim for claim in CLAIMS if claim.id in ("M5", "M6")],
    )
    found = found.set_index("claim")
    assert found["verdict"].to_dict() == VERDICTS[name], found["reason"].to_list()


@pytest.mark.parametrize("name", PUSHED)
def test_a_push_moves_the_answer_at_the_steerable_layers_alone(models, prompts, name):
    model, facts = models[name], PLANTS[name].facts
    some = prompts.groupby(["game", "label_map"]).head(1)
    ids = some["token_ids"].to_list()
    for layer in range(5, N_LAYERS + 1):
        odds = []
        for push in (3.0, -3.0):
            last = model.run(ids, push=(layer, push))[:, -1]
            # The push makes the residual longer, and the final norm whatever is preferred smaller.
            odds.append(model.odds(last, some) * np.linalg.norm(last, axis=1) / LENGTH)
        # A label's bias shrinks with the norm, too: it cancels between the label maps.
        moved = (odds[0] - odds[1])[:, None] * np.eye(len(GAMES))[some["game"].map(GAMES.index)]
        moved = moved.sum(axis=0) / 2
        # In the overridden models the look-ups end in block 9 as well.
        until = 8 if facts.steerable_until == "unknown" else facts.steerable_until
        if facts.steerable_from is not None and layer <= until:
            assert moved.min() > 0.5
        else:
            assert np.abs(moved).max() < 0.15


def test_a_push_that_moves_words_moves_them_under_every_label_map(models, prompts):
    """That it moves no action is held by the test before."""
    model = models["word_steerable"]
    some = prompts.groupby(["game", "label_map"]).head(1)
    first = np.where(some["label_map"] == "identity", -1.0, 1.0)
    for layer in (5, 8, 9):
        up, down = (
            model.odds(model.run(some["token_ids"].to_list(), push=(layer, push))[:, -1], some)
            for push in (3.0, -3.0)
        )
        moved = (up - down) * first
        assert (moved.min() > 0.5) if layer < LATE - 1 else (np.abs(moved).max() < 0.5)


def test_facts_are_written_beside_the_weights(tmp_path):
    build("override-4", tmp_path)
    facts = read_facts(tmp_path)
    assert facts == PLANTS["override"].facts
    assert (facts.nash_from, facts.override_at, facts.follows) == (5, 10, "action")


def test_codes_tell_letters_apart():
    matrix = np.array(list(codes().values()))
    assert matrix.shape == (27, 8)
    assert np.allclose(
        matrix @ matrix.T - np.eye(27), np.clip(matrix @ matrix.T, 0, 0.5) * (1 - np.eye(27))
    )
