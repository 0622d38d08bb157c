"""M5: the logit lens favours the Nash action through most layers.

The estimate is the share of layers whose P(Nash action) exceeds `FAVOURED`. Label maps give the
same label token to action 0 in one half of the prompts and to action 1 in the other, and option
orders do the same for the place in the list. P is averaged with equal weight over these cells, so a
preference for a token or a place cancels, and what is left follows the action.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nashlens.contrasts import p_floor, percentile_interval, rank_p
from nashlens.findings.claim import (
    Claim,
    Evidence,
    JudgeSettings,
    Missing,
    Outcome,
    Tables,
    joined,
    verdict_of,
    with_bounds,
)
from nashlens.findings.shared.lens_problems import lens_problem
from nashlens.lens.readings import FAVOURED, Readings, defined

MOST = 0.5
"""Share of layers beyond which it is most of them."""


@dataclass(frozen=True, kw_only=True)
class NashFavoured(Evidence):
    """The share of layers, and how many of them can be relied on."""

    layers: int
    """Number of layers."""
    favoured_layers: int
    """Number of layers that favour the Nash action."""
    reliable_layers: int
    """Number of layers where the labels have mass."""
    share_of_reliable: float
    """Share of those that favour the Nash action."""
    largest_p_nash: float
    """Largest P(Nash action) of any layer."""
    largest_p_nash_layer: int
    token_stronger_layers: int
    """Number of layers where P(first label of the pair) is farther from one half."""


def estimate(tables: Tables, settings: JudgeSettings) -> NashFavoured | Missing:
    """Average P(Nash action) over cells, layer by layer, and count layers."""
    readings = Readings(tables["lens"], defined(tables["prompts"], "nash_action"))
    problem = lens_problem(readings, "a Nash action")
    if problem is not None:
        return problem
    p_nash = readings.probability(readings.towards("nash_action"))
    p_first = readings.probability(readings.first_is_1)
    size = len(readings.layers)
    mean, draws = readings.cell_means(
        np.hstack([p_nash, p_first]), resamples=settings.resamples, rng=settings.rng("M5")
    )
    nash, token = mean[:size], mean[size:]
    favoured = nash > FAVOURED
    shares = (draws[:, :size] > FAVOURED).mean(axis=1)
    low, high = percentile_interval(shares[:, None], settings.confidence)
    matches = len(set(readings.matches))
    # How often a resample has no more than half of the layers.
    below = rank_p(-MOST, -shares)
    reliable = np.median(readings.mass, axis=0) >= settings.min_label_mass
    return NashFavoured(
        estimate=float(favoured.mean()),
        low=float(low[0]),
        high=float(high[0]),
        n=len(readings),
        n_matches=matches,
        control=float((token > FAVOURED).mean()),
        p_value=max(below, p_floor(matches, settings.resamples)),
        layers=size,
        favoured_layers=int(favoured.sum()),
        reliable_layers=int(reliable.sum()),
        share_of_reliable=float(favoured[reliable].mean()) if reliable.any() else np.nan,
        largest_p_nash=float(nash.max()),
        largest_p_nash_layer=int(readings.layers[nash.argmax()]),
        token_stronger_layers=int((np.abs(token - 0.5) > np.abs(nash - 0.5)).sum()),
    )


def rule(e: NashFavoured) -> Outcome:
    """Ask for most layers, and for labels with mass in as many."""
    supported = e.low > MOST
    if supported and e.reliable_layers < MOST * e.layers:
        return Outcome("inconclusive", "too few to speak for most layers")
    return Outcome(verdict_of(supported, e.high < MOST))


def reason(e: NashFavoured, outcome: Outcome) -> str:
    """Say the numbers of layers."""
    numbers = (
        f"{e.favoured_layers} of {e.layers} layers favour the Nash action (share"
        f" {with_bounds(e)}); the labels have mass in {e.reliable_layers}"
    )
    return joined(numbers, outcome.because, ", ")


CLAIM = Claim(
    id="M5",
    statement="The logit lens favours the Nash action through most layers.",
    measure=f"share of layers where P(Nash action), averaged over label maps, exceeds {FAVOURED:g}",
    unit="in the share of layers",
    beyond=f"{MOST:.0%}",
    largest_effect=1.0 - MOST,
    control=f"share of layers where P(first label of the pair) exceeds {FAVOURED:g}",
    paper="23 of 32 layers (Llama-3-8B)",
    tables=("lens", "prompts"),
    supported=f"the interval of the share of layers with P(Nash action) over {FAVOURED:g} lies"
    f" above {MOST:.0%}, and the labels have mass in as many layers",
    contradicted=f"the interval lies below {MOST:.0%}",
    estimate=estimate,
    rule=rule,
    reason=reason,
)
