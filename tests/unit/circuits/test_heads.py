"""The heads table against the oracle, and what it says of models whose heads are known."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nashlens.circuits.heads import candidate_group, control_groups, heads_table, match_phases
from nashlens.circuits.readings import Ablations
from nashlens.engine.core import Engine
from nashlens.engine.labels import LabelledPrompt
from nashlens.errors import DataError
from nashlens.findings import CLAIMS, judge
from nashlens.games import build_games
from nashlens.interventions import choose_prompts
from nashlens.models.convert import convert_source
from nashlens.models.load import load_model
from nashlens.models.tokenizer import ChatTokenizer
from nashlens.prompts.table import build_prompts
from tests import reference
from tests.tiny_models import tiny
from tests.unit.findings.tables import SETTINGS

GAMES = ("deadlock", "concord")
FORMS = [
    (template, label_map, order)
    for template in ("neutral", "named")
    for label_map in ("identity", "swapped")
    for order in ("forward", "reversed")
]


def prompts_table(rng):
    """A history for each template, of two rounds, with labels of one and two tokens."""
    rows = []
    for game in GAMES:
        for template, label_map, order in FORMS:
            stem = rng.integers(0, 61, 7)
            labels = [np.array([5]), np.array([6, 9])][:: 1 if label_map == "identity" else -1]
            rows += [
                {
                    "prompt_id": f"{game}/{template}/{label_map}/{order}/{turn}",
                    "match_id": f"{game}/{template}",
                    "scenario_id": f"{game}/{template}/{turn}",
                    "block_id": f"{game}/{template}/{turn}/{template}/jf",
                    "game": game,
                    "round": turn,
                    "template": template,
                    "label_set": "jf",
                    "label_map": label_map,
                    "option_order": order,
                    "token_ids": np.append(stem, rng.integers(0, 61, turn)),
                    "label_tokens_0": labels[0],
                    "label_tokens_1": labels[1],
                    "nash_action": 1 if game == "deadlock" else 0,
                    "dropped": "",
                }
                for turn in (2, 4)
            ]
    return pd.DataFrame(rows).astype({"nash_action": "Int64"})


def study(loaded, prompts, **changes):
    options = {"replacement": "mean", "group": 3, "random_groups": 3, "prompts_per_game": 16}
    options |= {"games": GAMES, "seed": 1, "model": "m"} | changes
    return heads_table(Engine(loaded), prompts, **options)


@pytest.fixture(scope="module")
def prompts():
    return prompts_table(np.random.default_rng(3))


@pytest.fixture(scope="module")
def loaded():
    return tiny("LlamaForCausalLM")


@pytest.mark.parametrize("replacement", ["mean", "zero"])
def test_each_row_equals_a_hooked_forward(loaded, prompts, replacement):
    table = study(loaded, prompts, replacement=replacement)
    rows = prompts.set_index("prompt_id")
    values = reference.head_outputs(loaded, rows["token_ids"].tolist()).mean(axis=0)
    if replacement == "zero":
        values = np.zeros_like(values)

    def lead(prompt, heads):
        row = rows.loc[prompt]
        labels = (row["label_tokens_0"].tolist(), row["label_tokens_1"].tolist())
        asked = [LabelledPrompt(row["token_ids"].tolist(), labels)]
        ((zero, one),) = reference.ablated_label_logprobs(loaded, asked, heads, values)
        return one - zero if row["nash_action"] == 1 else zero - one

    some = table.groupby("kind").sample(6, random_state=1)
    assert set(some["kind"]) == {"none", "head", "candidate", "random"}
    for row in some.to_dict("records"):
        heads = [tuple(int(n) for n in name.split(".")) for name in row["heads"].split()]
        expected = lead(row["prompt_id"], heads)
        assert row["logit_nash"] == pytest.approx(expected, abs=1e-4)
        assert row["drop"] == pytest.approx(lead(row["prompt_id"], []) - expected, abs=1e-4)
    assert (table.loc[table["kind"] == "none", "drop"] == 0).all()


def test_heads_are_chosen_on_matches_on_which_no_group_is_tested(loaded, prompts):
    table = study(loaded, prompts)
    by_phase = table.groupby("phase")["match_id"].agg(set)
    assert not by_phase["choose"] & by_phase["test"]
    assert set(table.loc[table["kind"].isin(["candidate", "random"]), "phase"]) == {"test"}
    assert set(table.loc[table["kind"] == "head", "phase"]) == {"choose"}
    chosen = Ablations(table, "head")
    drops = chosen.action_part()
    (candidate,) = set(table.loc[table["kind"] == "candidate", "heads"])
    group = candidate_group(drops, 4, 3)
    assert candidate == " ".join(f"{layer}.{head}" for layer, head in group)
    assert [chosen.names[(layer - 1) * 4 + head] for layer, head in group] == candidate.split()
    # Every head where they are chosen, every group where it is tested, the baseline in both.
    counts = table.groupby("kind")["ablation"].agg(["size", "nunique"])
    assert counts.loc["head"].tolist() == [16 * 16, 16]
    assert counts.loc["none"].tolist() == [32, 1]
    assert counts.loc["random"].tolist() == [3 * 16, 3]


def test_a_study_is_deterministic(loaded, prompts):
    pd.testing.assert_frame_equal(study(loaded, prompts), study(loaded, prompts))


def test_prompts_are_drawn_from_a_stream_of_the_circuits_own(loaded, prompts):
    """Which prompts are steered has no say in where heads are ablated."""
    drawn, steered = [], []
    for seed in range(3):
        table = study(loaded, prompts, prompts_per_game=8, seed=seed)
        drawn.append(set(table["prompt_id"]))
        chosen = choose_prompts(prompts, GAMES, 8, seed, "steering prompts", key="steering")
        steered.append(set(chosen["prompt_id"]))
    assert drawn != steered
    assert any(drawn[0] != other for other in drawn[1:])


@given(st.integers(2, 9), st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_both_phases_hold_whole_blocks(histories, rounds):
    rows = pd.DataFrame(
        [
            {"game": "g", "match_id": f"g/{h}", "template": "ab"[h % 2], "label_set": "jf"}
            | {"block_id": f"g/{h}/{r}", "label_map": label_map, "option_order": order}
            for h in range(histories)
            for r in range(rounds)
            for label_map in ("identity", "swapped")
            for order in ("forward", "reversed")
        ]
    )
    dealt = rows.assign(phase=match_phases(rows))
    assert (dealt.groupby("match_id")["phase"].nunique() == 1).all()
    assert (dealt.groupby(["phase", "block_id"]).size() == 4).all()
    sizes = dealt.groupby("phase")["match_id"].nunique()
    assert sizes.index.tolist() == ["choose", "test"]
    assert min(2, histories // 2) <= sizes["choose"] <= sizes["test"]


@pytest.mark.parametrize(
    ("wordings", "number"),
    [
        ([0, 0, 1, 1, 2, 2, 3, 3, 4, 4], 2),
        ([0] * 4 + [1] * 4, 2),
        ([0] * 3 + [1] * 3, 3),
        ([0] * 16, 4),
        ([0, 0, 0, 1, 1, 1, 2, 2, 2], 3),
        ([0, 0, 1, 1], 2),
        ([0, 0, 0], 1),
        ([0, 1], 1),
    ],
)
def test_no_wording_is_left_with_one_history_where_that_can_be_helped(wordings, number):
    rows = pd.DataFrame(
        {"game": "g", "match_id": map(str, range(len(wordings))), "template": "a"}
        | {"label_set": map(str, wordings)}
    )
    assert match_phases(rows).tolist() == ["choose"] * number + ["test"] * (len(wordings) - number)


def test_one_history_cannot_be_halved(prompts):
    with pytest.raises(DataError, match="are of one history"):
        match_phases(prompts[prompts["template"] == "named"])


def test_games_without_a_nash_action_are_refused(loaded, prompts):
    with pytest.raises(DataError, match=r"circuits\.games: no prompt"):
        study(loaded, prompts.assign(nash_action=pd.NA))
    with pytest.raises(DataError, match=r"circuits\.games: chicken has no prompt"):
        study(loaded, prompts, games=["chicken"])


@given(
    st.integers(2, 9), st.integers(1, 6), st.integers(1, 6), st.integers(1, 12), st.integers(0, 99)
)
@settings(max_examples=50, deadline=None)
def test_controls_are_other_heads_of_the_same_layers(n_heads, n_layers, size, count, seed):
    rng = np.random.default_rng(seed)
    drops = rng.normal(size=n_heads * n_layers)
    if size > n_layers * (n_heads // 2):
        with pytest.raises(DataError, match=f"at most {n_layers * (n_heads // 2)}"):
            candidate_group(drops, n_heads, size)
        return
    group = candidate_group(drops, n_heads, size)
    assert len(set(group)) == size
    layers = sorted(layer for layer, _ in group)
    assert max(layers.count(layer) for layer in layers) <= n_heads // 2
    best = drops.argmax()
    assert group[0] == (best // n_heads + 1, best % n_heads)
    controls = control_groups(group, n_heads, count, rng)
    assert 1 <= len(controls) <= count
    assert len(set(map(tuple, controls))) == len(controls)
    for other in controls:
        assert not set(other) & set(group)
        assert sorted(layer for layer, _ in other) == layers
        assert len(set(other)) == size


def planted(name, folder):
    convert_source(f"planted:{name}", folder)
    games = {
        game: {"canonical": game, "payoffs": None, "actions": None, "title": None, "variants": 0}
        for game in GAMES
    }
    table = build_prompts(
        build_games(games, 1),
        ChatTokenizer(folder),
        templates=["neutral"],
        label_sets={"jf": ["J", "F"], "bg": ["B", "G"]},
        label_maps=["identity", "swapped"],
        option_orders=["forward", "reversed"],
        opponents=["RANDOM"],
        own_cooperation=0.5,
        rounds=[3],
        histories=8,
        system="You are playing a game with another player.",
        assistant_prefix="I choose option",
        seed=3,
    )
    settings = {"dtype": "float32", "quantization": "none", "device": "cpu"}
    heads = study(
        load_model(folder, **settings), table, group=2, random_groups=10, prompts_per_game=32
    )
    claims = [claim for claim in CLAIMS if claim.id == "M4"]
    return heads, judge({"heads": heads}, claims=claims, **SETTINGS).iloc[0]


def test_heads_that_answer_the_nash_action_are_found(tmp_path):
    """The head that moves the Nash action to the decision, in block 5, and the last to answer."""
    heads, verdict = planted("nash", tmp_path / "nash")
    (chosen,) = set(heads.loc[heads["kind"] == "candidate", "heads"])
    assert chosen == "5.0 12.0"
    assert verdict["verdict"] == "contradicted"
    # Without what that head brings, nothing is left of the answer.
    detail = json.loads(verdict["detail"])
    assert detail["preference"] > 1.5
    assert detail["drop"] == pytest.approx(detail["preference"], rel=0.15)


def test_heads_that_move_what_nothing_reads_are_not(tmp_path):
    _, verdict = planted("inert", tmp_path / "inert")
    assert verdict["verdict"] == "inconclusive"
    assert "no preference for the Nash action" in verdict["reason"]
