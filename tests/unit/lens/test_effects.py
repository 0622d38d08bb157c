"""What moves the decision: parts of the logits by layer."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from nashlens.factorial import PARTS
from nashlens.lens.effects import QUANTITIES, effect_estimates
from tests.unit.findings.tables import LAYERS, lens, prompts, steps

FRAME = prompts(templates=("neutral", "named"))
CONFLICT = "prosocial over Nash"


def effects(table, frame=FRAME):
    return effect_estimates(table, frame, model="m", name="logit", confidence=0.95)


def rows(table, part, quantity=CONFLICT, game=None):
    found = table[(table["part"] == part) & (table["quantity"] == quantity)]
    found = found[found["game"].isna() if game is None else found["game"] == game]
    return found.set_index("layer")


def test_every_part_of_every_quantity_has_every_layer():
    table = effects(lens(FRAME))
    every = table[table["game"].isna()]
    assert set(zip(every["quantity"], every["part"], strict=True)) == {
        (quantity, part) for quantity in QUANTITIES for part in PARTS
    }
    assert (every.groupby(["quantity", "part"]).size() == LAYERS).all()
    games = table.groupby("quantity")["game"].unique().map(lambda names: set(names) - {np.nan})
    assert {str(name) for name in games[CONFLICT]} - {"nan"} == {"pd"}
    assert not table.duplicated(["quantity", "part", "game", "layer"]).any()


def test_each_part_is_told_from_the_others():
    parts = {"prosocial": steps(0.0, 1.0), "nash": steps(0.5, 0.0), "word": 2.0, "place": -3.0}
    table = effects(lens(FRAME, **parts, noise=0.01))
    action = rows(table, "action")["estimate"]
    np.testing.assert_allclose(action, steps(-0.5, 1.0), atol=0.03)
    np.testing.assert_allclose(rows(table, "word")["estimate"], 2.0, atol=0.03)
    np.testing.assert_allclose(rows(table, "place")["estimate"], -3.0, atol=0.03)
    np.testing.assert_allclose(rows(table, "interaction")["estimate"], 0.0, atol=0.03)
    # Of all games with a Nash action, three have the same prosocial one.
    nash = rows(table, "action", "Nash over other")["estimate"]
    np.testing.assert_allclose(nash, steps(0.5, (3 - 1) / 4), atol=0.03)


def test_the_action_part_is_that_of_loops():
    table = lens(FRAME, nash=0.4, word=1.0, noise=0.5)
    found = rows(effects(table), "action", game="pd").loc[3]
    at = table[table["layer"] == 3].set_index("prompt_id")
    odds = at["logit_1"] - at["logit_0"]
    by_set = []
    for label_set in FRAME["label_set"].unique():
        by_template = []
        for template in FRAME["template"].unique():
            histories = []
            here = FRAME[(FRAME["game"] == "pd") & (FRAME["label_set"] == label_set)]
            for _, history in here[here["template"] == template].groupby("match_id"):
                blocks = []
                for _, block in history.groupby("block_id"):
                    towards = [2 * int(action) - 1 for action in block["prosocial_action"]]
                    values = odds.loc[block["prompt_id"]].to_numpy()
                    blocks.append(sum(t * y for t, y in zip(towards, values, strict=True)) / 4)
                histories.append(np.mean(blocks))
            by_template.append(np.mean(histories))
        by_set.append(np.mean(by_template))
    assert found["estimate"] == pytest.approx(np.mean(by_set))
    assert found["ci_low"] < found["estimate"] < found["ci_high"]
    assert (found["n"], found["n_matches"]) == (96, 12)


def test_a_part_lasts_from_where_it_is_large_up_to_the_last_layer():
    strengths = np.array([1.0] * 4 + [0.0] * 4 + [1.0] * 8)
    table = effects(lens(FRAME, nash=-strengths, word=strengths, noise=0.02))
    for part in ("action", "word"):
        assert rows(table, part)["lasting"].tolist() == [False] * 8 + [True] * 8
    # One sign up to the end, and more than what is too small to matter.
    turned = effects(lens(FRAME, nash=steps(1.0, -1.0), word=0.1, noise=0.02))
    assert rows(turned, "action")["lasting"].sum() == 3
    assert not rows(turned, "word")["lasting"].any()


def test_what_differs_between_words_is_a_spread_and_widens_no_interval():
    plain = lens(FRAME, nash=1.0, noise=0.01)
    sign = FRAME["nash_action"].eq(1).fillna(False).map({True: 1.0, False: -1.0})
    shift = sign * FRAME["label_set"].map({"jf": -0.5, "xy": 0.0, "pq": 0.5})
    shift = plain["prompt_id"].map(dict(zip(FRAME["prompt_id"], shift, strict=True)))
    shifted = rows(effects(plain.assign(logit_1=plain["logit_1"] + shift)), "action",
                   "Nash over other")  # fmt: skip
    same = rows(effects(plain), "action", "Nash over other")
    np.testing.assert_allclose(shifted["spread_label_sets"], 0.5, atol=0.02)
    assert same["spread_label_sets"].max() < 0.02
    assert shifted["spread_templates"].max() < 0.02
    np.testing.assert_allclose(shifted["error"], same["error"])
    one = FRAME[FRAME["label_set"] == "jf"]
    assert effects(plain, one)["spread_label_sets"].isna().all()


def test_without_whole_blocks_or_conflicts_there_are_no_rows():
    table = lens(FRAME)
    assert effects(table, FRAME[FRAME["option_order"] == "forward"]).empty
    agreeing = effects(table, FRAME[FRAME["game"] == "harmony"])
    assert set(agreeing["quantity"]) == {"Nash over other"}


def test_one_history_has_estimates_without_intervals():
    one = FRAME[FRAME["match_id"] == "pd/jf-0"]
    found = effects(lens(one, nash=1.0), one)
    assert found["estimate"].notna().all()
    assert found["ci_low"].isna().all()
    assert not found["lasting"].any()


def test_the_order_of_rows_and_other_games_change_nothing():
    table = lens(FRAME, nash=0.5)
    once = effects(table)
    mixed = effects(table.sample(frac=1, random_state=1), FRAME.sample(frac=1, random_state=2))
    pd.testing.assert_frame_equal(once, mixed[once.columns], check_exact=False)
