"""M5: the logit lens favours the Nash action through most layers.

After each layer the logit lens reads the logit of the Nash action over the other action, averaged
over all forms of a prompt so that preferences for labels and places cancel (the *action part*). The
estimate is the share of layers where it is larger than `PREFERENCE`; with bounds for all layers at
once, the interval of the share runs from the layers that surely count to those that may. The
control is the share of layers with a preference for a word of that size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nashlens.contrasts import p_floor
from nashlens.factorial import BlockEstimate
from nashlens.findings.claim import (
    Claim,
    Evidence,
    JudgeSettings,
    Missing,
    Tables,
    joined,
    with_bounds,
)
from nashlens.findings.conditions import Outcome, above, below, case, decided
from nashlens.findings.shared.lens import lens_problem, spread_in_words
from nashlens.lens.readings import PREFERENCE, Readings, defined

MOST = 0.5
"""Share of layers beyond which it is most of them."""


@dataclass(frozen=True, kw_only=True)
class NashFavoured(Evidence):
    """The share of layers, and how many of them can be relied on."""

    layers: int
    """Number of layers."""
    favoured_layers: int
    """Number of layers whose estimated action part favours the Nash action."""
    sure_layers: int
    """Number of layers that are sure to favour it."""
    against_layers: int
    """Number of layers that are sure to favour the other action."""
    neither_layers: int
    """Number of layers that are sure to favour none of the two."""
    reliable_layers: int
    """Number of layers where the labels have mass."""
    share_of_reliable: float
    """Share of those that favour the Nash action."""
    largest_action: float
    """Largest action part of any layer, in logits."""
    largest_action_layer: int
    spread_label_sets: float
    """Standard deviation of that layer's action part over label sets; NaN with one."""
    spread_templates: float
    """The same over templates."""
    word_stronger_layers: int
    """Number of layers whose word part is larger in size than the action part."""


def estimate(tables: Tables, settings: JudgeSettings) -> NashFavoured | Missing:
    """Estimate the action part of each layer, and count layers."""
    return from_readings(read(tables), settings)


def read(tables: Tables) -> Readings:
    """Return the lens on the prompts that have a Nash action."""
    return Readings(tables["lens"], defined(tables["prompts"], "nash_action"))


def from_readings(readings: Readings, settings: JudgeSettings) -> NashFavoured | Missing:
    """Estimate the same from readings, of the model as it is or with something put into it."""
    problem = lens_problem(readings, "a Nash action")
    if problem is not None:
        return problem
    parts = readings.parts("nash_action")
    found, word = readings.estimate(parts["action"]), readings.estimate(parts["word"]).estimate
    action = found.estimate
    low, high, critical = found.simultaneous(
        settings.confidence, settings.resamples, settings.rng("M5")
    )
    size, favoured, sure = len(readings.layers), action > PREFERENCE, low > PREFERENCE
    # The layer that decides whether most of them favour the Nash action.
    middle = int(np.argsort(action)[size - _most(size)])
    reliable = np.median(readings.mass, axis=0) >= settings.min_label_mass
    top = int(action.argmax())
    return NashFavoured(
        estimate=float(favoured.mean()),
        low=float(sure.mean()),
        high=float((high > PREFERENCE).mean()),
        n=found.n,
        n_matches=found.n_clusters,
        control=float((np.abs(word) > PREFERENCE).mean()),
        p_value=_most_by_chance(found, settings.resamples),
        error=float(found.error[middle]),
        freedom=float(found.freedom[middle]),
        critical=float(critical[middle]),
        layers=size,
        favoured_layers=int(favoured.sum()),
        sure_layers=int(sure.sum()),
        against_layers=int((high < -PREFERENCE).sum()),
        neither_layers=int(((low > -PREFERENCE) & (high < PREFERENCE)).sum()),
        reliable_layers=int(reliable.sum()),
        share_of_reliable=float(favoured[reliable].mean()) if reliable.any() else np.nan,
        largest_action=float(action[top]),
        largest_action_layer=int(readings.layers[top]),
        spread_label_sets=float(found.over("label_set")[2][top]),
        spread_templates=float(found.over("template")[2][top]),
        word_stronger_layers=int((np.abs(word) > np.abs(action)).sum()),
    )


def _most(layers: int) -> int:
    """Return the least number of layers that is most of them."""
    return int(MOST * layers) + 1


def _most_by_chance(found: BlockEstimate, resamples: int) -> float:
    """Return the p-value of more than half of the layers, however these depend on each other.

    It is that of a partial conjunction (Benjamini and Heller 2008, Bonferroni's form).
    """
    size = len(found.estimate)
    needed = _most(size)
    single = np.sort(found.p_above(PREFERENCE, 10**9))
    p = (size - needed + 1) * single[needed - 1]
    return float(np.clip(p, p_floor(found.n_clusters, resamples), 1.0))


def rule(e: NashFavoured) -> Outcome:
    """Ask for most layers, and for labels with mass in as many."""
    most = above(
        f"share of layers sure to favour the Nash action by over {PREFERENCE:g} logits",
        e.low,
        MOST,
    )
    few = below("number of layers where the labels have mass", e.reliable_layers, MOST * e.layers)
    return decided(
        case(
            "inconclusive",
            most,
            few,
            because="too few layers have label mass to speak for most",
        ),
        case("supported", most, without=[few]),
        case("contradicted", below("share of layers that may favour it as much", e.high, MOST)),
        case("inconclusive"),
    )


def reason(e: NashFavoured, outcome: Outcome) -> str:
    """Say the numbers of layers, and the largest action part with how far it carries."""
    spread = spread_in_words(e.spread_label_sets, e.spread_templates)
    numbers = (
        f"{e.favoured_layers} of {e.layers} layers favour the Nash action by more than"
        f" {PREFERENCE:g} logits (share {with_bounds(e)}); bounds are clear of that for"
        f" {e.sure_layers} of them, for {e.against_layers} layers that favour the other action and"
        f" for {e.neither_layers} that favour neither; the labels have mass in"
        f" {e.reliable_layers} layers; the action part is largest at layer"
        f" {e.largest_action_layer}, with {e.largest_action:.2f} logits{spread}"
    )
    return joined(numbers, outcome.because)


CLAIM = Claim(
    id="M5",
    statement="The logit lens favours the Nash action through most layers.",
    measure="share of layers whose action part of the lens's logit of Nash over the other action"
    f" exceeds {PREFERENCE:g}",
    unit="of all layers",
    effect_unit=f"logits beyond {PREFERENCE:g} in the layer that decides",
    control=f"share of layers whose word part exceeds {PREFERENCE:g} logits in size",
    paper="23 of 32 layers (Llama-3-8B)",
    tables=("lens", "prompts"),
    interval="student",
    supported=f"more than {MOST:.0%} of layers have an action part above {PREFERENCE:g} logits with"
    " their bounds (for all layers at once), and the labels have mass in as many layers",
    contradicted=f"less than {MOST:.0%} of layers have bounds that reach {PREFERENCE:g} logits",
    estimate=estimate,
    rule=rule,
    reason=reason,
)
