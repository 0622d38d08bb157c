"""What each layer says through a lens, with intervals over matches."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from nashlens.estimates import Bootstrap
from nashlens.lens.layers import DESCRIPTIONS, layer_estimates, text_estimates
from tests.unit.findings import tables

HOW = Bootstrap(confidence=0.95, resamples=200, seed=1)


@pytest.fixture(scope="module")
def prompts():
    return tables.prompts()


def estimates(prompts, **planted):
    lens = tables.lens(prompts, **planted)
    known = {"kl": 0.5, "prior_action_1": np.nan} | {k: lens[k] for k in lens}
    return layer_estimates(lens.assign(**known), prompts, model="m", name="logit", how=HOW)


def last(table, quantity, game=None):
    rows = table[(table["quantity"] == quantity) & (table["layer"] == tables.LAYERS)]
    rows = rows[rows["game"].isna() if game is None else rows["game"] == game]
    (row,) = rows.to_dict("records")
    return row


def test_the_action_moves_its_probability_and_neither_word_nor_place_does(prompts):
    assert last(estimates(prompts, nash=2.0), "nash")["ci_low"] > 0.8
    for bias in ("word", "place"):
        row = last(estimates(prompts, **{bias: 2.0}), "nash")
        assert row["estimate"] == pytest.approx(0.5, abs=0.02)
        assert row["ci_high"] - row["ci_low"] < 0.08
        assert row["interval"] == "student"


def test_rows_are_counted_once_and_dropped_ones_left_out(prompts):
    lens = tables.lens(prompts, nash=1.0).assign(kl=0.5, prior_action_1=0.25)
    options = {"model": "m", "name": "logit", "how": HOW}
    once = layer_estimates(lens, prompts, **options)
    again = layer_estimates(pd.concat([lens, lens]), pd.concat([prompts, prompts]), **options)
    pd.testing.assert_frame_equal(once, again)
    part = prompts.assign(dropped=np.where(prompts["game"] == "pd", "too long", ""))
    fewer = layer_estimates(lens, part, **options)
    assert last(fewer, "kl")["n"] < last(once, "kl")["n"]
    assert set(fewer["game"].dropna()) == set(once["game"].dropna()) - {"pd"}
    # P(action 1) of 0.25 in both maps: the first label stands for each action in half of them.
    assert last(once, "prior")["estimate"] == pytest.approx(0.5)


def test_games_have_the_same_weight(prompts):
    table = estimates(prompts, nash=1.0, word=0.5)
    games = [last(table, "nash", game)["estimate"] for game in tables.NASH]
    assert last(table, "nash")["estimate"] == pytest.approx(np.mean(games))
    assert last(table, "nash", "pd")["ci_low"] > 0.5
    assert last(table, "prosocial")["n"] == last(table, "nash", "pd")["n"]
    assert set(table["quantity"]) | {"text_kl"} == set(DESCRIPTIONS)


def test_probabilities_have_bounds_that_are_probabilities(prompts):
    table = estimates(prompts, nash=6.0, noise=2.0)
    assert table[table["quantity"] == "nash"]["ci_high"].max() <= 1.0


def test_without_whole_blocks_there_is_nothing_to_tell(prompts):
    assert estimates(prompts[prompts["label_map"] == "identity"], nash=1.0).empty


def test_held_out_text_resamples_chunks():
    rng = np.random.default_rng(0)
    text = pd.DataFrame(
        {
            "layer": np.repeat([0, 1], 40),
            "chunk": np.tile(np.arange(40) // 10, 2),
            "kl_logit": rng.random(80),
            "kl_tuned": rng.random(80) / 2,
        }
    )
    found = text_estimates(text, model="m", how=HOW)
    assert set(zip(found["n"], found["n_matches"], strict=True)) == {(40, 4)}
    one = found[(found["lens"] == "tuned") & (found["layer"] == 1)].iloc[0]
    assert one["estimate"] == pytest.approx(text.loc[text["layer"] == 1, "kl_tuned"].mean())
