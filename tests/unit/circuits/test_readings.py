"""Ablations as parts of complete blocks."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nashlens.circuits.readings import Ablations


def table(kind="head", **sizes):
    """Drops of two heads, the second twice the first, that follow the parts as told."""
    rows = []
    for game, nash in (("deadlock", 1), ("concord", 0)):
        for history in range(3 if game == "deadlock" else 1):
            for label_map in ("identity", "swapped"):
                for order in ("forward", "reversed"):
                    action = 1.0 if nash else -1.0
                    word = 1.0 if label_map == "swapped" else -1.0
                    place = 1.0 if order == "reversed" else -1.0
                    follows = {"action": action, "word": word, "place": place,
                               "interaction": action * word * place}  # fmt: skip
                    drop = action * sum(size * follows[part] for part, size in sizes.items())
                    common = {
                        "prompt_id": f"{game}{history}{label_map}{order}",
                        "match_id": f"{game}{history}", "block_id": f"{game}{history}/3",
                        "game": game, "template": "neutral", "label_set": "jf",
                        "label_map": label_map, "option_order": order, "nash_action": nash,
                        "kind": kind, "phase": "test", "layer": 1,
                    }  # fmt: skip
                    rows += [
                        common | {"ablation": "1.0", "heads": "1.0", "head": 0, "drop": drop},
                        common | {"ablation": "1.1", "heads": "1.1", "head": 1, "drop": 2 * drop},
                    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize("only", ["action", "word", "place", "interaction"])
def test_parts_are_told_apart_in_every_block(only):
    found = Ablations(table(**{only: 0.7}), "head")
    assert found.names == ["1.0", "1.1"]
    for part, values in found.parts.items():
        expected = np.tile([0.7, 1.4] if part == only else [0.0, 0.0], (4, 1))
        np.testing.assert_allclose(values, expected, atol=1e-12)


def test_the_action_part_points_to_the_nash_action_and_weighs_games_the_same():
    rows = table(action=1.0)
    rows.loc[rows["game"] == "concord", "drop"] *= 3
    assert Ablations(rows, "head").action_part() == pytest.approx([2.0, 4.0])


def test_without_a_complete_block_the_mean_of_prompts_is_left():
    rows = table(action=1.0)
    one_map = Ablations(rows[rows["label_map"] == "identity"], "head")
    assert len(one_map.blocks) == 0
    assert one_map.action_part() == pytest.approx([1.0, 2.0])


def test_prompts_that_lack_an_ablation_are_left_out_with_their_block_and_repeats_count_once():
    whole = table(action=1.0, word=0.5)
    found = Ablations(pd.concat([whole, whole]).iloc[1:-1], "head")
    assert len(found) == 16
    assert len(found.blocks) == 4
    lacking = Ablations(whole.iloc[1:], "head")
    assert len(lacking) == 15
    assert len(lacking.blocks) == 3


@given(st.lists(st.integers(0, 31), min_size=1, max_size=80))
def test_values_are_those_of_a_pivot(some):
    """Of a table with rows that are missing, there twice with other numbers, and in any order."""
    rows = table(action=1.0).iloc[some].reset_index(drop=True)
    rows["drop"] += np.arange(len(rows))
    found = Ablations(rows, "head")
    once = rows.drop_duplicates(["prompt_id", "ablation"])
    wide = once.pivot(index="prompt_id", columns="ablation", values="drop")
    wide = wide[once["ablation"].unique()].dropna()
    assert found.names == list(wide.columns)
    assert found.prompts["prompt_id"].tolist() == list(wide.index)
    np.testing.assert_array_equal(found.values, wide.to_numpy())
    heads = once.drop_duplicates("ablation").set_index("ablation")["head"]
    assert found.places["head"].to_dict() == heads.to_dict()


def test_other_kinds_are_empty():
    empty = Ablations(table(action=1.0), "candidate")
    assert len(empty) == 0
    assert empty.values.shape == (0, 0)
    assert len(empty.blocks) == 0
