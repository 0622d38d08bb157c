"""The heads table against the oracle, and how prompts and groups are chosen."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nashlens.circuits.candidates import (
    candidate_group,
    candidate_mlps,
    control_groups,
    control_mlps,
)
from nashlens.circuits.heads import heads_table
from nashlens.circuits.phases import everywhere_rows, match_phases
from nashlens.circuits.readings import Ablations
from nashlens.engine.core import Engine
from nashlens.engine.labels import LabelledPrompt
from nashlens.errors import DataError
from nashlens.interventions import choose_prompts
from tests import reference
from tests.tiny_models import tiny

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
    options |= {"games": GAMES, "seed": 1, "model": "m", "mlps": 1}
    options |= {"everywhere": {"prompts": 8, "random_groups": 2}} | changes
    return heads_table(Engine(loaded), prompts, **options)


@pytest.fixture(scope="module")
def prompts():
    return prompts_table(np.random.default_rng(3))


@pytest.fixture(scope="module")
def loaded():
    return tiny("LlamaForCausalLM")


def sites_of(heads):
    """Return the kinds, layers and heads of a column `heads`."""
    found = [name.split(".") for name in heads.split()]
    return [("mlp", int(k), -1) if h == "mlp" else ("head", int(k), int(h)) for k, h in found]


def constants(loaded, rows, first):
    """Return what replaces outputs before the decision, and there, of each layer."""
    seen = [reference.component_outputs(loaded, ids.tolist()) for ids in rows["token_ids"]]
    return {
        place: (
            np.concatenate([one[place][first:-1] for one in seen]).mean(axis=0),
            np.mean([one[place][-1] for one in seen], axis=0),
        )
        for place in seen[0]
    }


@pytest.mark.parametrize("replacement", ["mean", "zero"])
def test_each_row_equals_a_hooked_forward(loaded, prompts, replacement):
    # The first tokens are the same in all prompts: nothing is ablated there.
    prompts = prompts.assign(token_ids=[np.append([7, 8], ids) for ids in prompts["token_ids"]])
    table = study(loaded, prompts, replacement=replacement)
    rows = prompts.set_index("prompt_id")
    chose = table.loc[table["phase"] == "choose", "prompt_id"].unique()
    values = constants(loaded, rows.loc[chose], 2)
    if replacement == "zero":
        values = {place: np.zeros_like(both) for place, both in values.items()}

    def lead(row, heads):
        one = rows.loc[row["prompt_id"]]
        labels = (one["label_tokens_0"].tolist(), one["label_tokens_1"].tolist())
        asked = LabelledPrompt(one["token_ids"].tolist(), labels)
        first = 2 if row["positions"] == "all" else len(asked.ids) - 1
        zero, other = reference.ablated_label_logprobs(loaded, asked, heads, values, first)
        return other - zero if one["nash_action"] == 1 else zero - other

    exact = table[table["method"] == "exact"]
    some = exact.groupby(["kind", "positions", "component"]).sample(4, random_state=1)
    arms = {("head", "decision"), ("mlp", "decision"), ("both", "all")}
    for kind in ("candidate", "random"):
        found = some.loc[some["kind"] == kind, ["component", "positions"]]
        assert set(found.itertuples(index=False, name=None)) == arms
    for row in some.to_dict("records"):
        expected = lead(row, sites_of(row["heads"]))
        assert row["logit_nash"] == pytest.approx(expected, abs=1e-4)
        assert row["drop"] == pytest.approx(lead(row, []) - expected, abs=1e-4)
    assert (table.loc[table["kind"] == "none", "drop"] == 0).all()


def test_at_all_positions_single_components_have_the_slope_of_their_ablation(loaded, prompts):
    """The estimate of a backward pass against a small step towards what replaces the output."""
    table = study(loaded, prompts)
    rows = prompts.set_index("prompt_id")
    chose = table.loc[table["phase"] == "choose", "prompt_id"].unique()
    values = constants(loaded, rows.loc[chose], 0)
    screened = table[table["method"] == "gradient"]
    assert set(screened["kind"]) == {"head", "mlp"}
    assert set(screened["positions"]) == {"all"}
    assert screened["label_mass"].isna().all()
    prompt = screened["prompt_id"].iloc[0]
    one = rows.loc[prompt]
    asked = LabelledPrompt(
        one["token_ids"].tolist(), (one["label_tokens_0"].tolist(), one["label_tokens_1"].tolist())
    )
    mine = screened[screened["prompt_id"] == prompt].set_index("ablation")["drop"]
    assert len(mine) == 4 * 4 + 4
    sign = 1 if one["nash_action"] == 1 else -1
    # Above the last MLP there is only the norm, which is close to linear for a small step.
    last = {("mlp", 4): (values["mlp", 4][0], values["mlp", 4][1])}
    own = reference.component_outputs(loaded, asked.ids)["mlp", 4]
    step = 1e-2
    leads = []
    for size in (-step, step):
        moved = {place: (own[0], own[-1] + size * (v[1] - own[-1])) for place, v in last.items()}
        zero, other = reference.ablated_label_logprobs(
            loaded, asked, [("mlp", 4, -1)], moved, len(asked.ids) - 1
        )
        leads.append(sign * (other - zero))
    slope = (leads[0] - leads[1]) / (2 * step)
    assert mine["4.mlp"] == pytest.approx(slope, rel=0.15, abs=2e-3)


def test_components_are_chosen_on_matches_on_which_no_group_is_tested(loaded, prompts):
    table = study(loaded, prompts)
    by_phase = table.groupby("phase")["match_id"].agg(set)
    assert not by_phase["choose"] & by_phase["test"]
    assert set(table.loc[table["kind"].isin(["candidate", "random"]), "phase"]) == {"test"}
    assert set(table.loc[table["kind"].isin(["head", "mlp"]), "phase"]) == {"choose"}
    here = table[table["positions"] == "decision"]
    chosen = Ablations(here, "head")
    candidates = here[here["kind"] == "candidate"].groupby("component")["heads"].agg(set)
    group = candidate_group(chosen.action_part(), 4, 3)
    assert candidates["head"] == {" ".join(f"{layer}.{head}" for layer, head in group)}
    assert [chosen.names[(layer - 1) * 4 + head] for layer, head in group] == [
        f"{layer}.{head}" for layer, head in group
    ]
    best = Ablations(here, "mlp")
    assert candidates["mlp"] == {best.names[int(best.action_part().argmax())]}
    # Every component where they are chosen, every group where it is tested, the baseline in both.
    counts = here.groupby(["kind", "component"])["ablation"].agg(["size", "nunique"])
    assert counts.loc[("head", "head")].tolist() == [16 * 16, 16]
    assert counts.loc[("mlp", "mlp")].tolist() == [16 * 4, 4]
    assert counts.loc[("none", "")].tolist() == [32, 1]
    assert counts.loc[("random", "head")].tolist() == [3 * 16, 3]
    # At all positions on fewer prompts: 8 of each game test, 4 choose.
    wide = table[table["positions"] == "all"]
    sizes = wide.groupby(["phase", "kind"])["prompt_id"].nunique()
    assert sizes.to_dict() == {
        ("choose", "none"): 8, ("choose", "head"): 8, ("choose", "mlp"): 8,
        ("test", "none"): 16, ("test", "candidate"): 16, ("test", "random"): 16,
    }  # fmt: skip


def test_without_all_positions_only_decisions_are_ablated(loaded, prompts):
    table = study(loaded, prompts, everywhere=None)
    whole = study(loaded, prompts)
    rest = whole[whole["positions"] == "decision"].reset_index(drop=True)
    pd.testing.assert_frame_equal(table, rest, atol=1e-5, rtol=1e-4)


def test_blocks_of_each_history_in_turn_are_ablated_at_all_positions():
    rows = pd.DataFrame(
        [
            {"game": "g", "phase": "test" if h else "choose", "match_id": f"{h}"}
            | {"block_id": f"{h}/{mirror}"}
            for h in range(4)
            for mirror in "ab"
            for _ in range(4)
        ]
    )
    chosen = rows[everywhere_rows(rows, 12)]
    assert chosen["block_id"].unique().tolist() == ["0/a", "1/a", "2/a", "3/a"]
    assert rows[everywhere_rows(rows, 16)]["block_id"].nunique() == 4 + 2


@given(st.integers(2, 30), st.integers(1, 6), st.integers(1, 12), st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_random_mlps_are_others_nearby(n_layers, size, count, seed):
    rng = np.random.default_rng(seed)
    drops = rng.normal(size=n_layers)
    if size > n_layers // 2:
        with pytest.raises(DataError, match=f"at most {n_layers // 2}"):
            candidate_mlps(drops, size)
        return
    group = candidate_mlps(drops, size)
    assert group[0] == drops.argmax() + 1
    controls = control_mlps(group, n_layers, count, rng)
    assert 1 <= len(controls) <= count
    assert len(set(map(tuple, controls))) == len(controls)
    for other in controls:
        assert not set(other) & set(group)
        assert len(set(other)) == size


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
