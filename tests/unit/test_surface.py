"""Differences in P(action 0) between surface forms of the same games."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest

from nashlens.estimates import Bootstrap
from nashlens.surface import FORMS, surface_estimates

HOW = Bootstrap(confidence=0.95, resamples=200, seed=1)
LABELS = {"jf": ("J", "F"), "xy": ("X", "Y")}


def make(label=0.0, order=0.0, template=0.0):
    """Prompts, a lens of two layers and play, with planted effects on P(action 0)."""
    rng = np.random.default_rng(0)
    rows = []
    forms = product(("neutral", "named"), LABELS, ("identity", "swapped"), ("forward", "reversed"))
    for k, (form, game, turn) in enumerate(product(forms, ("pd", "stag"), range(3))):
        one, two = LABELS[form[1]][:: 1 if form[2] == "identity" else -1]
        p = 0.3 + 0.3 * (game == "pd") + rng.normal(0, 0.01)
        p += label / 2 * (1 if form[2] == "identity" else -1)
        p += order / 2 * (1 if form[3] == "forward" else -1) + template * (form[0] == "named")
        rows.append(
            {"prompt_id": f"p{k}", "match_id": f"m{k // 3}", "game": game, "seat": "row"}
            | dict(zip(FORMS, form, strict=True))
            | {"label_0": one, "label_1": two, "p_action_0": p, "turn": turn}
        )
    data = pd.DataFrame(rows)
    lens = pd.concat([data.assign(layer=1, p_action_0=0.9), data.assign(layer=2)])
    play = data.assign(model="m", opponent="other")
    return data, lens, pd.concat([play, play.assign(model="else", p_action_0=0.0)])


def test_planted_effects_are_found_in_both_sources():
    found = surface_estimates(*make(label=0.2, order=-0.1, template=0.15), model="m", how=HOW)
    for source in ("prompts", "play"):
        rows = found[(found["source"] == source) & found["label_set"].isna()]
        rows = rows.set_index("contrast")
        for contrast, effect in (
            ("first label - second label", 0.2),
            ("listed first - listed second", -0.1),
            ("named - neutral", 0.15),
            ("J/F - other sets", 0.0),
        ):
            row = rows.loc[contrast]
            assert row["estimate"] == pytest.approx(effect, abs=0.01)
            assert row["ci_low"] - 0.01 <= effect <= row["ci_high"] + 0.01
        sets = found[(found["source"] == source) & found["label_set"].notna()]
        assert sets["contrast"].tolist() == ["J - F", "X - Y"]
        counts = found[(found["source"] == source) & (found["factor"] == "")].iloc[0]
        assert (counts["n"], counts["n_matches"]) == (96, 32)


def test_what_has_one_level_is_not_compared():
    prompts, lens, play = make()
    one = prompts[(prompts["template"] == "neutral") & (prompts["label_map"] == "identity")]
    ids = one["prompt_id"]
    found = surface_estimates(
        one,
        lens[lens["prompt_id"].isin(ids)],
        play[play["prompt_id"].isin(ids)],
        model="m",
        how=HOW,
    )
    assert set(found["factor"]) == {"", "option_order", "label_set"}
