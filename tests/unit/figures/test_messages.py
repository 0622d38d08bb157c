"""Headlines say what was found, with its number; and that nothing was, where nothing is there."""

from __future__ import annotations

import re

import numpy as np
import pytest

from nashlens.figures import registry, saying

from .spikes import make_spikes_summary

NUMBER = r"-?\d+(\.\d+)?%? \[-?\d+(\.\d+)?%?, -?\d+(\.\d+)?%?\]"
"""An estimate and its interval."""


def flat(frame, value=0.0, half=0.1):
    """Put one estimate and interval in place of all that there are."""
    known = frame["estimate"].notna()
    numbers = {"estimate": value, "ci_low": value - half, "ci_high": value + half}
    return frame.assign(**{name: np.where(known, x, np.nan) for name, x in numbers.items()})


def random_play(tables):
    metrics = flat(tables["metrics"], 0.5).assign(control=0.5)
    return {"metrics": metrics, "mode_differences": flat(tables["mode_differences"])}


def blind_probes(tables):
    names = ("balanced_accuracy", "ci_low", "ci_high")
    return {
        name: tables[name].assign(**dict(zip(names, (0.5, 0.4, 0.6), strict=True)))
        for name in ("probes", "transfer")
    }


def without_half(tables):
    choir = tables["choir"]
    return {"choir": choir[choir["share"].isna()]}


def fair_games(tables):
    return {"games": tables["games"].assign(pure_equilibria="")}


def nothing_recalled(tables):
    return {"calibration_rates": flat(tables["calibration_rates"])}


def moved(tables):
    rounds = flat(tables["rounds"], 0.5)
    last = (rounds["round"] == rounds["round"].max()).fillna(False).astype(bool)
    rounds.loc[last, ["estimate", "ci_low", "ci_high"]] = [0.9, 0.85, 0.95]
    return {"rounds": rounds}


def of(name, **columns):
    return lambda tables: {name: tables[name].assign(**columns)}


def level(name, value=0.0, half=0.1):
    return lambda tables: {name: flat(tables[name], value, half)}


SAID = {
    "games": ("In 1 of 8 games", fair_games, "In none of 8 games"),
    "cooperation": ("more than random play in 1 of 2", random_play, "random play in none of 2"),
    "pairs": ("in 26 of 54 pairings", random_play, "in none of 54 pairings"),
    "rounds": ("moves between the rounds in", level("rounds", 0.5), "in none of"),
    "reasoning": ("in 3 of 8 comparisons", random_play, "in none of 8 comparisons"),
    "selection": ("in 8 of 8 cases", random_play, "in none of 8 cases"),
    "strategies": ("in 8 of 12 cases", random_play, "in none of 12 cases"),
    "probes": ("labels: the opponent's", blind_probes, "labels: not the opponent's"),
    "transfer": ("in 126 of 252 cases", blind_probes, "above chance in none of 252"),
    "effects": ("The action and the word move", of("effects", lasting=False), "Neither action,"),
    "lens": ("follows the action", of("lens_summary", reason=""), "follows neither"),
    "tuned": (
        "is nearer to the end",
        lambda tables: {"lens_tuned_layers": tables["lens_layers"].assign(lens="tuned")},
        "is no nearer to the end",
    ),
    "biases": ("moves when forms", level("surface_summary"), "does not move beyond"),
    "steering": ("in 7 of 27 places", level("steering_summary"), "in none of 27 places"),
    "clamping": ("in 7 of 27 places", level("steering_summary"), "in none of 27 places"),
    "steered_play": ("Steering moves", level("steered_summary"), "Steering does not move"),
    "heads": ("costs the Nash action 1.1", level("heads_summary"), "no more than others"),
    "patching": ("move the answer", level("patching_summary"), "do not move, beyond"),
    "attribution": ("head 15.1", level("attribution_summary"), "No component"),
    "choir": ("carried by 4", without_half, "nothing that is written"),
    "spikes": (
        "an override of 2 logits is found in 100%",
        lambda _: {"spikes_summary": make_spikes_summary(["smol-135m"], found=0.0)},
        "none of the overrides put in was found",
    ),
    "ladder": ("5 of 5 findings", of("ladder", concludes="contradicted"), "none of 5 findings"),
    "findings": ("4 supported", of("findings", verdict="inconclusive"), "0 supported"),
    "calibration": ("finds 71%", nothing_recalled, "finds 0%"),
}
"""Figure -> its headline's words, tables in which nothing is to be found, and the words then."""
COUNTS = {"games", "ladder", "findings"}
"""Figures whose headline counts what is certain, and has no interval."""


def headline(name, tables):
    return " ".join(registry.draw(name, tables).get_suptitle().split())


@pytest.mark.parametrize("name", registry.FIGURES)
def test_the_headline_says_what_was_found_and_when_nothing_was(name, one_model):
    found, nothing, then = SAID[name]
    there = headline(name, {**one_model, **(moved(one_model) if name == "rounds" else {})})
    assert found in there
    if name not in COUNTS:
        assert re.search(NUMBER, there), there
    absent = headline(name, {**one_model, **nothing(one_model)})
    assert then in absent
    assert found not in absent


@pytest.mark.parametrize("name", registry.FIGURES)
def test_headlines_of_several_models_are_one_short_sentence(name, four_models):
    said = headline(name, four_models)
    assert len(said) <= 190
    assert "nan" not in said
    assert ". " not in said.replace("vs. ", "")


def test_the_rounds_are_told_apart_where_they_move(one_model):
    said = headline("rounds", {**one_model, **moved(one_model)})
    assert "most from 0.50 [0.40, 0.60] to 0.90 [0.85, 0.95]" in said


def test_numbers_without_an_interval_and_zeros_are_plain():
    row = {"estimate": -0.0001, "ci_low": np.nan, "ci_high": np.nan}
    assert saying.interval(row) == "0.00"
    assert saying.interval({"estimate": -0.2, "ci_low": -0.3, "ci_high": -0.001}) == (
        "-0.20 [-0.30, 0.00]"
    )


def without_intervals(frame):
    return frame.assign(ci_low=np.nan, ci_high=np.nan)


@pytest.mark.parametrize(
    ("name", "tables"),
    [
        ("cooperation", ["metrics"]),
        ("pairs", ["metrics"]),
        ("rounds", ["rounds"]),
        ("reasoning", ["mode_differences"]),
        ("selection", ["metrics"]),
        ("strategies", ["metrics"]),
    ],
)
def test_cases_that_cannot_be_told_for_want_of_an_interval_are_counted(name, tables, one_model):
    bare = {table: without_intervals(one_model[table]) for table in tables}
    said = headline(name, {**one_model, **bare})
    one, two = re.search(r"of (\d+) \w+ \((\d+) without an interval\)", said).groups()
    assert one == two
    assert "without an interval" not in headline(name, {**one_model, **moved(one_model)})


def test_what_agents_do_is_said_and_not_how_far_it_is_from_nothing(one_model):
    said = headline("cooperation", {**one_model, **random_play(one_model)})
    assert re.search(r"furthest from it 50% \[.*\] of decisions", said)
