"""M11: the Nash label is computed at one place before the decision, from payoffs.

Two prompts differ only in the asked seat's own payoffs, and the residual of one, after one layer
and at one group of tokens, is put into the other. The estimate is the share of the difference
between their answers that this carries, at the lowest layer where a group before the decision
carries half of it; bounds hold for all places at once. The control patches the same place from
prompts that differ in the opponent's last move, or in the order of the options, and in no payoff.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nashlens.circuits.patches import Patches
from nashlens.contrasts import Array, p_floor, student_p
from nashlens.findings.claim import (
    Claim,
    Evidence,
    JudgeSettings,
    Missing,
    Tables,
    joined,
    with_bounds,
)
from nashlens.findings.conditions import Outcome, above, below, case, decided, told
from nashlens.vocabulary.patching import DIRECTIONS, EXACT, judged_direction
from nashlens.vocabulary.positions import DECISION

LEAST_TOTAL = 0.2
"""Logits by which exchanged payoffs must move the answer, for there to be something to carry."""
LEAST_SHARE = 0.5
"""Share of that difference which a place must carry."""
LEAST_ADDED = 0.25
"""Share by which it must carry more than its tokens do from the embedding on."""
CONTROLS = ("history", "order")
"""Kinds of pairs that differ in no payoff, the first one that there is."""
OVERLAPS = {"payoffs": "payoff_", "rounds": "round_", "options": "option_"}
"""Groups that hold others, by what their names begin with."""
NOT_BEFORE = (DECISION, "answer", "all")
"""Groups that are not before the decision, where the answer is on its way out."""


Bounded = tuple[float, float, float]
"""An estimate with its lower and upper bound."""
_NOTHING: Bounded = (float("nan"), float("nan"), float("nan"))


@dataclass(frozen=True, kw_only=True)
class Computed(Evidence):
    """The share that the place carries, and what it is a share of."""

    layer: int
    """Layer of the place; where none carries half, of the one that carries the most."""
    group: str
    """Its tokens."""
    layers: int
    """Number of layers at which a place was patched exactly."""
    direction: str
    """Direction of the patches: `destroy` where it was patched."""
    reverse: float
    """Share that the place carries in the other direction; NaN where that was not patched."""
    reverse_low: float
    """Its lower bound."""
    reverse_high: float
    """Its upper bound."""
    decision_layer: int | None
    """Lowest layer at which the decision carries half; None where it is at none."""
    total: float
    """Logits by which exchanged payoffs move the answer to the other action: their action part."""
    total_low: float
    """Its lower bound."""
    total_high: float
    """Its upper bound."""
    word_part: float
    """What exchanged payoffs move towards the pair's first label, in logits."""
    largest_high: float
    """Upper bound of the largest share that any place carries, for all places at once."""
    covered: float
    """Share that all patched groups carry together, at the layer where it is least."""
    covered_low: float
    """Its lower bound, for all layers at once."""
    covered_layer: int
    """That layer."""
    control_kind: str
    """Kind of the control's pairs; empty where there is none."""
    control_low: float
    """Lower bound of the control."""
    control_high: float
    """Upper bound of the control."""


def estimate(tables: Tables, settings: JudgeSettings) -> Computed | Missing:
    """Find the lowest place that carries half, and what it carries."""
    patching = tables["patching"]
    payoffs = patching["kind"] == "payoffs"
    direction = judged_direction(set(patching.loc[payoffs, "direction"]))
    patches = Patches(patching, "payoffs", direction, "nash")
    if not len(patches):
        return Missing("no complete block of pairs whose payoffs are exchanged")
    action, blocks = patches.parts["action"], patches.blocks
    whole = blocks.estimate(np.hstack([action[:, :1], patches.parts["word"][:, :1]]))
    if np.isnan(whole.error[0]):
        return Missing("a game has pairs of one history: no interval", "inconclusive")
    total = float(whole.estimate[0])
    # What each patch carries beyond half of the whole difference, and whether it is a place.
    beyond = action[:, 1:] - LEAST_SHARE * action[:, :1]
    candidates = _candidates(patches, blocks.estimate(action[:, 1:]).estimate, total)
    exact = (patches.places["method"] == EXACT).to_numpy()[candidates]
    if not exact.any():
        return Missing("no exact patch of the residual before the decision; see patching.groups")
    if total <= 0:
        return Missing(
            f"exchanged payoffs move the answer by {total:.2f} logits: nothing to carry",
            "inconclusive",
        )
    found = blocks.estimate(beyond[:, candidates])
    low, high, critical = found.simultaneous(
        settings.confidence, settings.resamples, settings.rng("M11")
    )
    layer = patches.places["layer"].to_numpy(int)[candidates]
    place = np.flatnonzero(exact)[_lowest(low[exact] > 0, layer[exact], found.estimate[exact])]
    total_low, total_high = whole.interval(settings.confidence)
    name = patches.places.index[candidates[place]]
    kind, control = _control(patching, direction, name, settings)
    reverse = _reverse(patching, direction, name, settings)
    covered = _covered(patches, settings)
    # As many tests as places: on the safe side, as places go together.
    floor = p_floor(found.n_clusters, settings.resamples)
    chance = student_p(found.estimate[place], found.error[place], found.freedom[place], 0.0)
    p = max(chance * len(candidates), floor)
    return Computed(
        estimate=LEAST_SHARE + float(found.estimate[place]) / total,
        low=LEAST_SHARE + float(low[place]) / total,
        high=LEAST_SHARE + float(high[place]) / total,
        n=found.n,
        n_matches=found.n_clusters,
        control=control[0] / total,
        p_value=float(min(p, 1.0)),
        error=float(found.error[place]) / total,
        freedom=float(found.freedom[place]),
        critical=float(critical[place]),
        layer=int(layer[place]),
        group=str(patches.places["group"].iloc[candidates[place]]),
        layers=len(set(layer[exact].tolist())),
        direction=direction,
        reverse=reverse[0],
        reverse_low=reverse[1],
        reverse_high=reverse[2],
        decision_layer=_decision_layer(patches, beyond, settings),
        total=total,
        total_low=float(total_low[0]),
        total_high=float(total_high[0]),
        word_part=float(whole.estimate[1]),
        largest_high=LEAST_SHARE + float(high[exact].max()) / total,
        covered=1 - LEAST_SHARE + covered[1] / total,
        covered_low=1 - LEAST_SHARE + covered[2] / total,
        covered_layer=covered[0],
        control_kind=kind,
        control_low=control[1] / total,
        control_high=control[2] / total,
    )


def _candidates(patches: Patches, effect: Array, total: float) -> NDArray[np.intp]:
    """Return the patches that may be the place, as indices.

    They are of the residual after a block, before the decision. A group that carries much from the
    embedding on counts only where it carries clearly more.
    """
    places = patches.places.reset_index(drop=True)
    residual = places["site"] == "residual"
    embedding = residual & (places["layer"] == 0)
    held = pd.Series(effect[embedding], places["group"][embedding])
    given = places["group"].map(held).fillna(0.0).to_numpy(dtype=float)
    much = given > (LEAST_SHARE - LEAST_ADDED) * total
    apart = ~places["group"].isin(NOT_BEFORE) & ~(much & (effect - given < LEAST_ADDED * total))
    return np.flatnonzero((residual & (places["layer"] > 0) & apart).to_numpy(dtype=bool))


def _covered(patches: Patches, settings: JudgeSettings) -> tuple[int, float, float]:
    """Return where all patched groups carry least together: the layer, and how much more than half.

    In logits, with its lower bound. A layer that was only screened has none of it.
    """
    places = patches.places.reset_index(drop=True)
    groups = set(places["group"])
    held = tuple(begin for name, begin in OVERLAPS.items() if name in groups)
    once = (places["group"] != "all") & ~places["group"].str.startswith(held)
    here = (places["site"] == "residual") & (places["layer"] > 0) & once
    action = patches.parts["action"] * np.append(True, places["method"] == EXACT)
    layers = sorted(set(places["layer"][here]))
    sums = [action[:, 1:][:, (here & (places["layer"] == k)).to_numpy()].sum(1) for k in layers]
    found = patches.blocks.estimate(np.stack(sums, axis=1) - (1 - LEAST_SHARE) * action[:, :1])
    low, _, _ = found.simultaneous(settings.confidence, settings.resamples, settings.rng("M11"))
    least = int(np.argmin(low))
    return int(layers[least]), float(found.estimate[least]), float(low[least])


def _lowest(carries: NDArray[np.bool_], layer: NDArray[np.int_], estimate: Array) -> int:
    """Return the place: of the lowest layer that carries, or of all, the one that does most."""
    lowest = carries & (layer == layer[carries].min(initial=layer.max()))
    among = np.flatnonzero(lowest if carries.any() else np.ones_like(carries))
    return int(among[np.argmax(estimate[among])])


def _decision_layer(patches: Patches, beyond: Array, settings: JudgeSettings) -> int | None:
    """Return the lowest layer at which the decision carries half, beyond chance."""
    places = patches.places.reset_index(drop=True)
    here = (places["site"] == "residual") & (places["group"] == DECISION)
    here &= places["method"] == EXACT
    low, _ = patches.blocks.estimate(beyond).interval(settings.confidence)
    layers = places["layer"][here & (low > 0)]
    return int(layers.min()) if len(layers) else None


def _control(
    patching: pd.DataFrame, direction: str, patch: str, settings: JudgeSettings
) -> tuple[str, Bounded]:
    """Return the kind of the control, and what its patch carries in logits, with bounds.

    Pairs of orders are of one direction, as both their prompts are of the design.
    """
    for kind in CONTROLS:
        control = Patches(patching, kind, direction if kind == "history" else "destroy", "nash")
        if len(control):
            return kind, _carried(control, patch, settings)[1]
    return "", _NOTHING


def _reverse(
    patching: pd.DataFrame, direction: str, patch: str, settings: JudgeSettings
) -> Bounded:
    """Return the share that a patch carries in the other direction, of the difference there."""
    other = next(one for one in DIRECTIONS if one != direction)
    patches = Patches(patching, "payoffs", other, "nash")
    if not len(patches):
        return _NOTHING
    total, carried = _carried(patches, patch, settings)
    if total <= 0:
        return _NOTHING
    first, low, high = (value / total for value in carried)
    return first, low, high


def _carried(patches: Patches, patch: str, settings: JudgeSettings) -> tuple[float, Bounded]:
    """Return the whole difference, and what one patch carries of it, in logits, with bounds."""
    columns = [0, 1 + list(patches.places.index).index(patch)]
    found = patches.blocks.estimate(patches.parts["action"][:, columns])
    low, high = found.interval(settings.confidence)
    return float(found.estimate[0]), (float(found.estimate[1]), float(low[1]), float(high[1]))


def rule(e: Computed) -> Outcome:
    """Ask whether payoffs move the answer, whether a place carries that, and the control not."""
    moved = above(
        "lower bound of how far exchanged payoffs move the answer (logits)",
        e.total_low,
        LEAST_TOTAL,
    )
    carries = above("lower bound of the share that the place carries", e.low, LEAST_SHARE)
    asked = told("pairs that differ in no payoff serve as the control", bool(e.control_kind))
    apart = below(
        "largest size that the share from pairs that differ in no payoff may have",
        max(-e.control_low, e.control_high),
        LEAST_SHARE,
    )
    small = below(
        "upper bound of the largest share that any place carries", e.largest_high, LEAST_SHARE
    )
    covered = above(
        "least lower bound of the share that all patched groups carry together",
        e.covered_low,
        1 - LEAST_SHARE,
    )
    return decided(
        case(
            "inconclusive",
            without=[moved],
            because="exchanged payoffs flip nothing that a place could carry",
        ),
        case(
            "inconclusive",
            carries,
            without=[asked],
            because="no pairs without other payoffs as the control",
        ),
        case(
            "inconclusive",
            carries,
            without=[apart],
            because="pairs without other payoffs may carry as much",
        ),
        case("supported", moved, carries, asked, apart),
        case(
            "inconclusive",
            small,
            without=[covered],
            because="tokens that were not patched may: see patching.groups, and patching.screen",
        ),
        case("contradicted", moved, small, covered),
        case("inconclusive"),
    )


def reason(e: Computed, outcome: Outcome) -> str:
    """Say the place, its share, the control's, and where the decision has it."""
    after = (
        f"the decision carries half from layer {e.decision_layer} on"
        if e.decision_layer is not None
        else "the decision carries half at no layer patched"
    )
    numbers = (
        f"exchanged payoffs move the answer by {e.total:.2f} [{e.total_low:.2f},"
        f" {e.total_high:.2f}] logits to the other action (the pair's first label gains"
        f" {e.word_part:.2f}); of {e.layers} layers, the residual after layer {e.layer} at"
        f" {e.group} carries {with_bounds(e)} of it"
    )
    if e.control_kind:
        numbers += (
            f", from {e.control_kind} pairs {e.control:.2f} [{e.control_low:.2f},"
            f" {e.control_high:.2f}]"
        )
    if np.isfinite(e.reverse):
        other = next(one for one in DIRECTIONS if one != e.direction)
        numbers += (
            f", in the direction {other} {e.reverse:.2f}"
            f" [{e.reverse_low:.2f}, {e.reverse_high:.2f}]"
        )
    together = (
        f"all groups patched carry {e.covered:.2f} together (at least {e.covered_low:.2f}) at layer"
        f" {e.covered_layer}, where it is least"
    )
    return joined(f"{numbers}; {after}; {together}", outcome.because)


CLAIM = Claim(
    id="M11",
    statement="The Nash label is computed at one place before the decision, from payoffs.",
    measure="share of the answer's difference between prompts with exchanged payoffs that the"
    " residual of one layer and group of tokens carries, action part",
    unit="of the difference",
    control="the same place patched from pairs that differ in no payoff",
    beyond=f"{LEAST_SHARE:g}",
    paper="",
    tables=("patching",),
    interval="student",
    supported=f"exchanged payoffs move the answer by more than {LEAST_TOTAL:g} logits with the"
    " interval, and at some layer one group of tokens before the decision carries more than"
    f" {LEAST_SHARE:.0%} of that, with its interval for all places at once, and"
    f" {LEAST_ADDED:.0%} more than at the embedding, if it carries as much there; pairs that differ"
    " in no payoff carry less there, with their interval",
    contradicted="exchanged payoffs move the answer as much, and at none of the layers patched"
    f" does such a group carry {LEAST_SHARE:.0%} of that, while at each of them all groups patched,"
    f" the decision too, carry more than {1 - LEAST_SHARE:.0%} together, with their intervals",
    estimate=estimate,
    rule=rule,
    reason=reason,
)
