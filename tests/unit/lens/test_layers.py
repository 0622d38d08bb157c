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


def test_an_action_moves_its_average_and_a_token_does_not(prompts):
    action = estimates(prompts, nash=2.0)
    assert last(action, "nash_average")["ci_low"] > 0.8
    assert last(action, "first_label")["estimate"] == pytest.approx(0.5, abs=0.05)
    token = estimates(prompts, token=2.0)
    assert last(token, "nash_average")["estimate"] == pytest.approx(0.5, abs=0.05)
    assert last(token, "first_label")["ci_low"] > 0.8
    place = estimates(prompts, place=2.0)
    assert last(place, "listed_first")["ci_low"] > 0.8
    assert last(place, "nash")["estimate"] == pytest.approx(0.5, abs=0.05)


def test_means_count_each_prompt_once_and_leave_dropped_ones_out(prompts):
    lens = tables.lens(prompts, nash=1.0).assign(kl=0.5, prior_action_1=0.25)
    options = {"model": "m", "name": "logit", "how": HOW}
    once = layer_estimates(lens, prompts, **options)
    again = layer_estimates(pd.concat([lens, lens]), pd.concat([prompts, prompts]), **options)
    pd.testing.assert_frame_equal(once, again)
    part = prompts.assign(dropped=np.where(prompts["game"] == "pd", "too long", ""))
    fewer = layer_estimates(lens, part, **options)
    assert last(fewer, "kl")["n"] < last(once, "kl")["n"]
    assert set(fewer["game"].dropna()) == set(once["game"].dropna()) - {"pd"}


def test_each_game_and_label_map_has_its_mean_without_an_interval(prompts):
    table = estimates(prompts, nash=1.0, token=0.5)
    maps = [last(table, f"nash_{name}")["estimate"] for name in ("identity", "swapped")]
    assert last(table, "nash_average")["estimate"] == pytest.approx(np.mean(maps))
    assert np.isnan(last(table, "nash_identity")["ci_low"])
    games = [last(table, "nash", game) for game in tables.NASH]
    whole = last(table, "nash")
    weighted = sum(game["estimate"] * game["n"] for game in games) / whole["n"]
    assert whole["estimate"] == pytest.approx(weighted)
    assert last(table, "prosocial")["n"] == last(table, "nash", "pd")["n"]
    assert set(table["quantity"]) | {"text_kl"} == set(DESCRIPTIONS)


def test_one_label_map_has_no_average(prompts):
    table = estimates(prompts[prompts["label_map"] == "identity"], nash=1.0)
    assert np.isnan(last(table, "nash_average")["estimate"])


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
