"""Differences in P(action 0) between surface forms of the same games."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest

from nashlens.surface import FORMS, surface_estimates

LABELS = {"jf": ("J", "F"), "xy": ("X", "Y")}
HISTORIES = 4


def make(label=0.0, order=0.0, template=0.0, history=0.05, noise=0.002):
    """Prompts, a lens of two layers and play, with planted effects on P(action 0)."""
    rng = np.random.default_rng(0)
    rows = []
    wordings = product(("pd", "stag"), ("neutral", "named"), LABELS, range(HISTORIES))
    for game, template_name, label_set, h in wordings:
        name = f"{game}/{template_name}-{label_set}-{h}"
        # What the history does is the same in all of its block.
        own = 0.3 + 0.3 * (game == "pd") + rng.normal(0, history)
        for label_map, option_order in product(("identity", "swapped"), ("forward", "reversed")):
            form = (template_name, label_set, label_map, option_order)
            one, two = LABELS[label_set][:: 1 if label_map == "identity" else -1]
            p = own + rng.normal(0, noise) + template * (template_name == "named")
            p += label / 2 * (1 if label_map == "identity" else -1)
            p += order / 2 * (1 if option_order == "forward" else -1)
            rows.append(
                {"prompt_id": f"{name}/{label_map}-{option_order}", "match_id": name}
                | {"block_id": f"{name}/1", "game": game, "seat": "row", "dropped": ""}
                | dict(zip(FORMS, form, strict=True))
                | {"label_0": one, "label_1": two, "p_action_0": p}
            )
    data = pd.DataFrame(rows)
    lens = pd.concat([data.assign(layer=1, p_action_0=0.9), data.assign(layer=2)])
    # In play each cell of a block is a match, here of two rounds.
    play = data.assign(model="m", opponent="other", match_id=data["prompt_id"])
    rounds = [play.assign(round=r, p_action_0=play["p_action_0"] + d) for r, d in ((1, -1), (2, 1))]
    return data, lens, pd.concat([*rounds, play.assign(model="else", p_action_0=0.0)])


def test_planted_effects_are_found_in_both_sources():
    planted = make(label=0.2, order=-0.1, template=0.15)
    found = surface_estimates(*planted, model="m", confidence=0.95)
    for source in ("prompts", "play"):
        rows = found[(found["source"] == source) & found["label_set"].isna()]
        rows = rows.set_index("contrast")
        for contrast, effect, within in (
            ("first label - second label", 0.2, 0.002),
            ("listed first - listed second", -0.1, 0.002),
            ("named - neutral", 0.15, 0.04),
            ("J/F - other sets", 0.0, 0.04),
        ):
            row = rows.loc[contrast]
            assert row["estimate"] == pytest.approx(effect, abs=within)
            assert row["ci_low"] <= effect <= row["ci_high"]
            # Swapping is compared within blocks: what a history does widens no interval.
            assert row["ci_high"] - row["ci_low"] < 4 * within
            assert row["n_matches"] == 4 * 2 * HISTORIES
        sets = found[(found["source"] == source) & found["label_set"].notna()]
        assert sets["contrast"].tolist() == ["J - F", "X - Y"]
        assert (sets["n_matches"] == 2 * 2 * HISTORIES).all()
    counts = found[found["factor"] == ""].set_index("source")
    assert counts["n"].to_dict() == {"prompts": 128, "play": 256}
    assert counts["n_matches"].to_dict() == {"prompts": 32, "play": 128}


def test_templates_are_compared_by_loops_over_games_and_label_sets():
    prompts, lens, play = make(template=0.1, history=0.2)
    found = surface_estimates(prompts, lens, play[:0], model="m", confidence=0.95)
    found = found[found["source"] == "prompts"].set_index("contrast")
    by_game = []
    for game in ("pd", "stag"):
        means = {}
        for template in ("named", "neutral"):
            here = prompts[(prompts["game"] == game) & (prompts["template"] == template)]
            means[template] = np.mean(
                [here.loc[here["label_set"] == name, "p_action_0"].mean() for name in LABELS]
            )
        by_game.append(means["named"] - means["neutral"])
    assert found.loc["named - neutral", "estimate"] == pytest.approx(np.mean(by_game))


def test_two_seats_of_a_block_are_not_independent():
    prompts, lens, play = make(label=0.2, noise=0.05)
    both = pd.concat([play, play.assign(seat="column")])
    rows = [
        surface_estimates(prompts, lens, table, model="m", confidence=0.95).set_index(
            ["source", "contrast"]
        )
        for table in (play, both)
    ]
    key = ("play", "first label - second label")
    one, two = (table.loc[key] for table in rows)
    assert (two["n"], two["n_matches"]) == (2 * one["n"], one["n_matches"])
    assert two["ci_high"] - two["ci_low"] == pytest.approx(one["ci_high"] - one["ci_low"])


def test_an_opponent_met_in_one_template_only_compares_none():
    prompts, lens, play = make(template=0.1)
    met = play["template"].map({"neutral": "one", "named": "two"})
    alone = play.assign(
        opponent=met, match_id=play["match_id"] + "/s", block_id=play["block_id"] + "/s"
    )
    rows = [
        surface_estimates(prompts, lens, table, model="m", confidence=0.95).set_index(
            ["source", "contrast"]
        )
        for table in (play, pd.concat([play, alone]))
    ]
    one, more = (table.loc[("play", "named - neutral")] for table in rows)
    assert more["estimate"] == pytest.approx(one["estimate"])
    assert (more["n"], more["n_matches"]) == (one["n"], one["n_matches"])


def test_what_has_one_level_is_not_compared():
    prompts, lens, play = make()
    one = prompts["template"] == "neutral"
    found = surface_estimates(
        prompts[one], lens, play[play["template"] == "neutral"], model="m", confidence=0.95
    )
    assert set(found["factor"]) == {"", "label_map", "option_order", "label_set"}
    torn = prompts["label_map"] == "identity"
    found = surface_estimates(
        prompts[torn], lens, play[play["label_map"] == "identity"], model="m", confidence=0.95
    )
    assert set(found["factor"]) == {""}
