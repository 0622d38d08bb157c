"""What writes a planted answer is where the record says: plain hooks, and not the study."""

import numpy as np
import pytest

from nashlens.planted import build, read_facts
from nashlens.planted.circuit import HEAD_DIM, HEADS, N_LAYERS
from nashlens.planted.plants import PLANTS
from tests.unit.planted.test_plants import Model, make_prompts, signs

WITH = sorted(name for name, plant in PLANTS.items() if plant.facts.components)
OVERRIDES = [name for name in WITH if name.startswith("override")]
# What the last one answers depends on the payoffs.
WORDS = [name for name in WITH if name.startswith("word") and name != "word_at_payoffs"]


class Ablated(Model):
    """A built model without some components."""

    def odds_without(self, table, components, *, at=None):
        """Return the logits of action 1 over action 0, (n,), with components zero, perhaps at one
        position each only."""
        # Without a position all prompts of one length run together.
        batches = [[i] for i in range(len(table))] if at is not None else [range(len(table))]
        found = np.zeros(len(table))
        for batch in batches:
            where = slice(None) if at is None else at[batch[0]]
            hooks = [self._zero(*component, where) for component in components]
            rows = table.iloc[list(batch)]
            found[list(batch)] = self.odds(self.run(rows["token_ids"].to_list())[:, -1], rows)
            for hook in hooks:
                hook.remove()
        return found

    def _zero(self, kind, layer, head, where):
        block = self.model.model.layers[layer - 1]

        def mlp(module, inputs, output):
            output = output.clone()
            output[:, where] = 0.0
            return output

        def one_head(module, inputs):
            values = inputs[0].clone()
            values[:, where, head * HEAD_DIM : (head + 1) * HEAD_DIM] = 0.0
            return (values,)

        if kind == "mlp":
            return block.mlp.register_forward_hook(mlp)
        return block.self_attn.o_proj.register_forward_pre_hook(one_head)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    made = {}
    for name in WITH:
        folder = tmp_path_factory.mktemp(name)
        build(name, folder)
        made[name] = Ablated(folder)
    return made


@pytest.fixture(scope="module")
def prompts(models):
    return make_prompts(
        models["override_mlp"].tokenizer, label_sets={"jf": ["J", "F"]}, histories=1
    )


def towards(odds, table, column, rows=None):
    """Return the mean logit of the action in a column over the other one."""
    rows = slice(None) if rows is None else rows
    return (odds * signs(table[column]))[rows].mean()


def conflict_of(table):
    return (table["nash_action"] != table["prosocial_action"]).to_numpy()


def other_heads(components):
    """All late heads and the last two MLPs that are no such components."""
    layers = range(10, N_LAYERS + 1)
    heads = [("head", layer, head) for layer in layers for head in range(HEADS)]
    return [c for c in [*heads, ("mlp", 11, -1), ("mlp", 12, -1)] if c not in components]


@pytest.mark.parametrize("name", OVERRIDES)
def test_without_its_components_an_override_is_gone_and_without_others_it_stays(
    models, prompts, name
):
    components, rows = PLANTS[name].facts.components, conflict_of(prompts)
    whole, without, others = (
        towards(models[name].odds_without(prompts, sites), prompts, "prosocial_action", rows)
        for sites in ([], components, other_heads(components))
    )
    assert whole > 0.5
    assert without < -0.5
    assert others == pytest.approx(whole, abs=0.05)


@pytest.mark.parametrize("name", OVERRIDES)
def test_one_component_is_needed_where_the_record_says(models, prompts, name):
    facts, rows = PLANTS[name].facts, conflict_of(prompts)
    for component in facts.components:
        odds = models[name].odds_without(prompts, [component])
        left = towards(odds, prompts, "prosocial_action", rows)
        assert (left < -0.5) if facts.alone else (left > 0.5), component


@pytest.mark.parametrize("name", ["override_redundant", "word_redundant", "nash_redundant"])
def test_one_head_of_a_redundant_pair_changes_little_and_both_of_them_much(models, prompts, name):
    model, pair = models[name], PLANTS[name].facts.components
    whole = model.odds_without(prompts, [])
    both = np.abs(model.odds_without(prompts, pair) - whole).mean()
    assert both > 1.5
    for component in pair:
        one = model.odds_without(prompts, [component])
        assert (np.sign(one) == np.sign(whole)).all()
        assert np.abs(one - whole).mean() < 0.15 * both


def test_the_heads_of_the_choir_carry_an_eighth_each(models, prompts):
    model, rows = models["override_choir"], conflict_of(prompts)
    components = PLANTS["override_choir"].facts.components
    left = [
        towards(model.odds_without(prompts, sites), prompts, "prosocial_action", rows)
        for sites in [[], components, *([c] for c in components)]
    ]
    shares = (left[0] - np.array(left[2:])) / (left[0] - left[1])
    np.testing.assert_allclose(shares, 1 / 8, atol=0.05)


def cooperated(table):
    return (table["opponent_last"] == 0).to_numpy()


def first_label(table):
    """+1 where action 1 has the pair's first label, else -1."""
    return np.where(table["label_map"] == "identity", -1.0, 1.0)


WHERE = {"in_conflict": conflict_of, "after_cooperation": cooperated}
"""Prompts in which alone some models write."""


def written(name, table):
    """Return the prompts in which a model's components write."""
    for ending, rows in WHERE.items():
        if name.endswith(ending):
            return rows(table)
    return np.ones(len(table), dtype=bool)


@pytest.mark.parametrize("name", WORDS)
def test_a_word_is_written_and_no_action(models, prompts, name):
    components = PLANTS[name].facts.components
    model, rows = models[name], written(name, prompts)
    change = model.odds_without(prompts, []) - model.odds_without(prompts, components)
    assert (change * first_label(prompts))[rows].min() > 1
    # A longer residual makes what else is answered smaller.
    assert abs(towards(change, prompts, "prosocial_action")) < 0.1 * np.abs(change[rows]).mean()


@pytest.mark.parametrize(
    "name", [f"{what}_{where}" for what in ("override", "word") for where in WHERE]
)
def test_where_it_is_not_to_write_a_head_writes_nothing(models, prompts, name):
    model, components = models[name], PLANTS[name].facts.components
    change = model.odds_without(prompts, []) - model.odds_without(prompts, components)
    word = name.startswith("word")
    change = change * (first_label(prompts) if word else signs(prompts["prosocial_action"]))
    rows = written(name, prompts)
    assert change[rows].min() > 1
    assert np.abs(change[~rows]).max() < 0.15


@pytest.mark.parametrize("name", ["override_early", "word_early"])
def test_what_is_written_early_is_written_at_the_question_mark(models, prompts, name):
    model, rows = models[name], conflict_of(prompts)
    (writer, carrier) = PLANTS[name].facts.components
    word = name.startswith("word")
    way = first_label(prompts) if word else signs(prompts["prosocial_action"])
    bound = 2.5 if word else 0.5
    mark = model.tokenizer.encode("?")[-1]
    marks = [int(np.flatnonzero(ids == mark)[-1]) for ids in prompts["token_ids"]]
    last = [len(ids) - 1 for ids in prompts["token_ids"]]
    for component, at, gone in (
        (writer, marks, True),
        (writer, last, False),
        (carrier, last, True),
        (carrier, marks, False),
    ):
        left = (model.odds_without(prompts, [component], at=at) * way)[rows].mean()
        # Without the word, the Nash action's label is answered: its pair's first in half of all.
        assert (left < (0.5 if word else -0.5)) if gone else (left > bound), (component, gone)


def last_own_payoffs(model, table):
    """Return the position of the last own payoff in each prompt."""
    get = model.tokenizer.encode("get")[-1]
    digits = {model.tokenizer.encode(d)[-1] for d in "0123456789"}
    return [
        max(i for i in range(1, len(ids)) if ids[i - 1] == get and int(ids[i]) in digits)
        for ids in table["token_ids"]
    ]


def test_the_nash_label_is_computed_at_the_last_own_payoff(models, prompts):
    model = models["nash_at_payoffs"]
    at = last_own_payoffs(model, prompts)
    odds = model.odds_without(prompts, []) * signs(prompts["nash_action"])
    assert odds.min() > 0.5
    for component in PLANTS["nash_at_payoffs"].facts.components:
        there = model.odds_without(prompts, [component], at=at) * signs(prompts["nash_action"])
        assert there.min() < 0.2, component


def test_from_the_payoffs_a_word_is_answered_and_no_action(models, prompts):
    """The first label where the Nash action is listed last, which is that of the last payoff."""
    model = models["word_at_payoffs"]
    listed_last = (prompts["nash_action"] == 1) == (prompts["option_order"] == "forward")
    way = first_label(prompts) * np.where(listed_last, 1.0, -1.0)
    odds = model.odds_without(prompts, [])
    assert (odds * way).min() > 1
    for game in set(prompts["game"]):
        rows = (prompts["game"] == game).to_numpy()
        assert abs(towards(odds, prompts, "nash_action", rows)) < 0.15
    at = last_own_payoffs(model, prompts)
    for component in PLANTS["word_at_payoffs"].facts.components:
        there = model.odds_without(prompts, [component], at=at) * way
        assert abs(there.mean()) < 0.3, component


def test_at_the_decision_alone_the_nash_label_is_computed_from_payoffs(models, prompts):
    model = models["nash_at_decision"]
    way = signs(prompts["nash_action"])
    whole = model.odds_without(prompts, []) * way
    assert whole.min() > 0.5
    last = [len(ids) - 1 for ids in prompts["token_ids"]]
    for component in PLANTS["nash_at_decision"].facts.components:
        assert (model.odds_without(prompts, [component], at=last) * way).max() < 1, component
    # What is computed at options and question mark is of no use to it, nor is anything later.
    heads = [("head", layer, head) for layer in range(3, N_LAYERS + 1) for head in range(HEADS)]
    mlps = [("mlp", layer, -1) for layer in range(3, N_LAYERS + 1)]
    before = [
        slice(first + 1, len(ids) - 1)
        for first, ids in zip(last_own_payoffs(model, prompts), prompts["token_ids"], strict=True)
    ]
    without = model.odds_without(prompts, [*heads, *mlps], at=before) * way
    np.testing.assert_allclose(without, whole, atol=0.2)


def with_conflict_values(model, table, component):
    """Change of the logit of the prosocial action where no conflict is, when a head gets what it
    writes at the decision of the same prompt of another game, with a conflict."""
    keys = ["label_map", "option_order"]
    games = {name: rows.set_index(keys) for name, rows in table.groupby("game")}
    into, source = (
        games[name].groupby(level=keys).first() for name in ("harmony", "prisoners_dilemma")
    )
    values = {}
    _, layer, head = component
    here = slice(head * HEAD_DIM, (head + 1) * HEAD_DIM)
    projection = model.model.model.layers[layer - 1].self_attn.o_proj
    changes = []
    for key in into.index:
        rows = into.loc[[key]].reset_index()
        theirs = source.loc[key, "token_ids"]

        def read(module, inputs):
            values["head"] = inputs[0][:, -1, here].clone()

        def put(module, inputs):
            changed = inputs[0].clone()
            changed[:, -1, here] = values["head"]
            return (changed,)

        found = []
        for ids, hook in (
            (theirs, read),
            (rows["token_ids"][0], None),
            (rows["token_ids"][0], put),
        ):
            handle = projection.register_forward_pre_hook(hook) if hook is not None else None
            found.append(model.odds(model.run([ids])[:, -1], rows)[0])
            if handle is not None:
                handle.remove()
        changes.append((found[2] - found[1]) * signs(rows["prosocial_action"])[0])
    return np.array(changes)


@pytest.mark.parametrize(
    ("name", "suffices"),
    [
        ("override_in_conflict", True),
        ("override_stand_in", True),
        ("override_permitted", False),
    ],
)
def test_what_a_head_writes_suffices_where_the_record_says(models, prompts, name, suffices):
    change = with_conflict_values(models[name], prompts, PLANTS[name].facts.components[0])
    assert (change.min() > 1) if suffices else (np.abs(change).max() < 0.2)


def test_before_the_late_layers_an_override_is_complete(models, prompts):
    """All that the last quarter of the layers writes is nothing to it."""
    model, rows = models["override_before_late"], conflict_of(prompts)
    late = [("head", layer, head) for layer in (10, 11, 12) for head in range(HEADS)]
    late += [("mlp", layer, -1) for layer in (10, 11, 12)]
    whole, left = (
        towards(model.odds_without(prompts, sites), prompts, "prosocial_action", rows)
        for sites in ([], late)
    )
    assert whole > 1
    assert left == pytest.approx(whole, abs=0.05)


def test_components_are_written_and_read(tmp_path):
    build("override_early", tmp_path)
    assert read_facts(tmp_path) == PLANTS["override_early"].facts
