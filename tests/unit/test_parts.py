"""Levels of a factor, and halves of the matches."""

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from nashlens.parts import DRAWS, FACTORS, HALVES, halves, members
from tests.unit.findings.tables import prompts

CELLS = ["game", "label_map", "option_order"]


def test_every_match_is_in_one_half_whatever_the_order_of_rows():
    frame = prompts(3)
    dealt = halves(frame, 1)
    assert sorted(dealt.index) == sorted(frame["match_id"].unique())
    shuffled = frame.sample(frac=1.0, random_state=0)
    pd.testing.assert_series_equal(dealt, halves(shuffled, 1))
    assert (dealt != halves(frame, 2)[dealt.index]).any()
    masks = members(shuffled, "half", 1)
    sides = [set(shuffled.loc[mask, "match_id"]) for mask in masks.values()]
    assert not sides[0] & sides[1]
    assert (sum(masks.values()) == 1).all()


def test_small_cells_do_not_all_fall_alike():
    # One match in each cell: a half of one label map alone could not be judged.
    frame = prompts(1, games=("pd", "harmony"))
    frame = frame[frame["label_set"] == "jf"].drop_duplicates(CELLS)
    frame["match_id"] = frame[CELLS].agg("/".join, axis=1)
    frame = frame.assign(phase=frame["game"].map({"pd": "choose", "harmony": "test"}))
    for seed in range(20):
        half = frame["match_id"].map(halves(frame, seed))
        for column in (*CELLS, "phase"):
            counts = pd.crosstab(half, frame[column])
            assert counts.shape == (2, 2), column
            assert counts.to_numpy().min() >= 1, column


designs = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from("is"), st.sampled_from("fr")),
    min_size=1,
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(designs, st.integers(0, 2**32 - 1), st.randoms())
def test_halves_share_every_cell_evenly(design, seed, random):
    frame = pd.DataFrame(design, columns=CELLS)
    frame["match_id"] = [f"m{k}" for k in range(len(frame))]
    dealt = halves(frame, seed)
    counts = frame.assign(half=frame["match_id"].map(dealt)).groupby([*CELLS, "half"]).size()
    wide = counts.unstack("half", fill_value=0).reindex(columns=list(HALVES), fill_value=0)
    assert (wide[HALVES[0]] - wide[HALVES[1]]).abs().max() <= 1
    # The order of rows, and rows that say a match again, change nothing.
    order = list(range(len(frame)))
    random.shuffle(order)
    again = halves(pd.concat([frame.iloc[order], frame]), seed)
    pd.testing.assert_series_equal(dealt, again)


def test_histories_in_several_forms_are_dealt_by_what_they_have_one_of():
    rows = [
        {"match_id": f"g/{k}", "game": "g", "template": "ab"[k % 2], "label_map": label_map}
        for k in range(8)
        for label_map in ("identity", "swapped")
    ]
    frame = pd.DataFrame(rows)
    for seed in range(10):
        half = frame["match_id"].map(halves(frame, seed))
        assert (half.groupby(frame["match_id"]).nunique() == 1).all()
        assert (pd.crosstab(half, frame["template"]) == 4).all().all()


def test_levels_of_every_factor():
    frame = prompts(2)
    assert list(members(frame, "label_set", 0)) == ["jf", "pq", "xy"]
    assert list(members(frame, "template", 0)) == ["neutral"]
    assert members(frame.drop(columns="template"), "template", 0) == {}
    assert all(mask.all() for mask in members(frame, "bootstrap", 0).values())
    assert tuple(members(frame, "bootstrap", 0)) == DRAWS
    some = frame[frame["game"] == "pd"]
    part = members(some, "half", 0, drawn=frame)
    whole = members(frame, "half", 0)
    for level in HALVES:
        # A part of the table is dealt as the whole is.
        assert np.array_equal(part[level], whole[level][(frame["game"] == "pd").to_numpy()])
    assert set(FACTORS) == {"template", "label_set", "half", "bootstrap"}


def test_halves_of_play_hold_whole_scenarios_of_all_agents():
    rows = [
        {"match_id": f"{game}/{agent}/{r}", "scenario_id": f"{game}/{r // 4}", "repetition": r,
         "game": game, "agent": agent, "template": "ab"[r // 16], "label_map": r % 2}
        for game in ("g", "h") for agent in ("x", "y") for r in range(32)
    ]  # fmt: skip
    frame = pd.DataFrame(rows)
    half = frame["match_id"].map(halves(frame, 1))
    assert (half.groupby(frame["scenario_id"]).nunique() == 1).all()
    assert (half.groupby([frame["game"], frame["template"]]).value_counts() == 16).all()
