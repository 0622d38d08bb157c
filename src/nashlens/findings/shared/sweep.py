"""What a steering sweep moved, for the claims about it (M7, M8).

Each kind of direction is judged by its target (`nashlens.steering.readings`): the action part of
P(action 1), or, for the `label` direction, the word part on words that it was not fitted on. A
direction of words moves the words that it knows; it carries over where it moves others by at least
half as much. The control is random directions at the same place, in either sign: a push at several
layers at once moves an answer along any direction further than a push at one. For words it is the
largest change at any place: late pushes move some words along any direction. Of the kinds and
places whose target's lower bound lies over the least change that counts, the one is chosen that is
least like random directions there; of none, the one whose bound lies highest. Bounds hold for all
kinds and places at once, and p-values pay for the choice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from nashlens.contrasts import Array, p_floor, rank_p, student_p
from nashlens.factorial import BlockEstimate
from nashlens.findings.claim import (
    NOT_IN_DETAIL,
    Evidence,
    JudgeSettings,
    Missing,
    Tables,
    fields_at,
)
from nashlens.findings.conditions import Condition, at_most
from nashlens.steering.readings import Responses, Target, TargetBounds, bounded

LEAST_CHANGE = 0.05
"""Change of P(action) that counts as moving behaviour."""
CARRIES = 0.5
"""Least change on other words, as a share of the change on those that a direction was fitted on."""
LEAST_SIZE = 1e-3
"""Smaller changes of P are all alike where directions are compared."""
LEAST_SPREAD = 0.3
"""Least standard deviation of the logarithms of random directions' changes."""


class Best(NamedTuple):
    """The kind of direction and the place that a claim is judged at."""

    bounds: TargetBounds
    place: int
    """Position among the places."""
    kinds: int
    """Number of kinds among which it was chosen."""
    within_reach: bool
    """Whether any kind's target can reach the least change that counts at any place."""
    random: Array
    """(random, places) sizes of the target's changes along random directions."""

    @property
    def target(self) -> Target:
        """The target that is judged."""
        return self.bounds.target

    def p_value(self, which: int, resamples: int) -> float:
        """Return the p-value of one of the numbers above 0, which pays for the choice."""
        found, column = self.bounds.found, self.column(which)
        floor = p_floor(found.n_clusters, resamples)
        p = student_p(found.estimate[column], found.error[column], found.freedom[column], 0.0)
        choices = self.kinds * self.target.responses.n_places
        return float(np.clip(choices * p, floor, 1.0))

    def column(self, which: int) -> int:
        """Return the column of one of the numbers that were read, at this place."""
        return which * self.target.responses.n_places + self.place


def complete_sweep(tables: Tables, kind: str, option: str) -> Responses | Missing:
    """Return responses that can be judged, or why there are none; `option` names their doses."""
    responses = Responses(tables["steering"], kind)
    if not len(responses):
        return Missing(f"the steering table has no complete {kind!r} sweep of any direction")
    if len(responses.doses) < 2:
        return Missing(f"{option} needs at least two values")
    if not responses.targets():
        return Missing(
            "every direction was fitted on the words that it is tried on; leave a label set out of"
            " steering.train_label_sets, or steer along the abstract direction"
        )
    if responses.blocks.n_clusters < 2:
        return Missing("fewer than two matches were steered: no interval", "inconclusive")
    return responses


def least_changes(target: Target) -> Array:
    """Return the least change of a target that counts, (places,)."""
    least = np.full(target.responses.n_places, LEAST_CHANGE)
    seen = ~target.responses.unseen
    if target.kind != "label" or not seen.any():
        return least
    return np.fmax(least, CARRIES * target.change_on(seen).estimate)


def choose_best(
    responses: Responses,
    read: Callable[[Target], BlockEstimate],
    claim: str,
    settings: JudgeSettings,
    within_reach: Callable[[TargetBounds, Array, Array], Any],
) -> Best | Missing:
    """Choose the kind and the place whose change counts and is least like that of random ones.

    Parameters
    ----------
    responses : Responses
    read : callable
        `Target.both_ways` or `Target.monotone`; the change is the last of what it reads.
    claim : str
        Names the random streams.
    settings : JudgeSettings
    within_reach : callable
        From bounds, upper bounds of each number by itself, and the changes to reach at each place,
        to whether each place can still do what is claimed. That none can needs no bounds that hold
        at once, since every place must fall short by its own (Berger 1982). To reach are the least
        change that counts and what half of the random directions do.
    """
    every = bounded(
        responses,
        read,
        confidence=settings.confidence,
        resamples=settings.resamples,
        rng=lambda kind: settings.rng(f"{claim} {kind}"),
    )
    options: list[tuple[tuple[bool, float, float], TargetBounds, int, Array]] = []
    reach = False
    for bounds in every:
        least = least_changes(bounds.target)
        low = bounds.low[-responses.n_places :]
        change = bounds.found.estimate[-responses.n_places :]
        random = _random_sizes(bounds.target)
        usual = np.median(random, axis=0) if len(random) else np.zeros_like(least)
        high = bounds.found.interval(settings.confidence)[1]
        reaches = within_reach(bounds, high, np.maximum(least, usual))
        reach |= bool(np.any(reaches | np.isnan(low)))
        unusual = _unusual(change, random)
        for place, gap in enumerate(low - least):
            if np.isfinite(gap):
                # First those that count, the least like random ones before others.
                key = (gap <= 0, -unusual[place] if gap > 0 else 0.0, -gap)
                options.append((key, bounds, place, random))
    if not options:
        return Missing("fewer than two matches of each game: no interval", "inconclusive")
    _, bounds, place, random = min(options, key=lambda option: option[0])
    return Best(bounds, place, len(every), reach, random)


class WordChange(NamedTuple):
    """The largest change of a word part that is beyond doubt."""

    change: float
    """0 where there is none."""
    kind: str
    layers: str
    others: float
    """The same on words that the direction was not fitted on; NaN where there are none."""


def largest_word_change(
    responses: Responses, kinds: Sequence[str], confidence: float
) -> WordChange:
    """Return the largest change of a word part, on words that the direction knows if it knows any.

    Its interval holds for all kinds and places at once (Bonferroni).
    """
    largest = WordChange(0.0, "", "", np.nan)
    for kind in kinds:
        word = responses.changes(kind, "word")
        known = ~responses.unseen if kind == "label" else np.ones(len(responses), dtype=bool)
        found = responses.blocks.estimate(word, known)
        low, high = found.interval(confidence, at_once=len(kinds) * responses.n_places)
        sure = np.where((low > 0) | (high < 0), np.abs(found.estimate), 0.0)
        place = int(np.nan_to_num(sure).argmax())
        if sure[place] > abs(largest.change):
            others = responses.blocks.estimate(word, responses.unseen).estimate[place]
            layers = str(responses.places["layers"].iloc[place])
            largest = WordChange(float(found.estimate[place]), kind, layers, float(others))
    return largest


def _random_sizes(target: Target) -> Array:
    """Return the sizes of the changes along random directions, (random, places), to compare with.

    Of words it is the largest at any place, at each place.
    """
    sizes = np.abs(target.random_changes())
    if target.part == "word" and len(sizes):
        sizes = np.broadcast_to(sizes.max(axis=1, keepdims=True), sizes.shape)
    return np.asarray(sizes)


def _unusual(change: Array, random: Array) -> Array:
    """Return how far changes (..., places) lie beyond those along random directions, by place.

    It is the logarithm of the change in standard deviations from the mean of those of the `random`
    changes' sizes, (directions, places). Changes below `LEAST_SIZE` count as that, and standard
    deviations below `LEAST_SPREAD` as that; without random directions it is 0.
    """
    if not len(random):
        return np.zeros_like(change)
    logs = np.log(np.maximum(random, LEAST_SIZE))
    spread = np.maximum(logs.std(axis=0), LEAST_SPREAD)
    result: Array = (np.log(np.maximum(change, LEAST_SIZE)) - logs.mean(axis=0)) / spread
    return result


@dataclass(frozen=True)
class RandomControl:
    """How a change of the target compares with that along random directions at the same place."""

    n: int
    """Number of random directions."""
    rank_p: float
    """Rank of the direction among them; NaN without any."""
    p_value: float
    """Chance that one more random direction is as unlike the others at any place."""
    largest: float
    """Largest change, in size, of a random direction."""

    @property
    def beaten(self) -> bool:
        """Whether no random direction does as well."""
        return self.condition.holds

    @property
    def condition(self) -> Condition:
        """Whether no random direction does as well, as a condition of a rule."""
        best = 1.0 / (1.0 + self.n) + 1e-9
        return at_most("rank p of the direction among random ones", self.rank_p, best)

    def detail(self) -> dict[str, float]:
        """Return the numbers by their names in the findings table; few without directions."""
        if not self.n:
            return {"random_directions": 0, "random_rank_p": np.nan, "random_p": np.nan}
        return {
            "random_directions": self.n,
            "random_change_largest": self.largest,
            "random_rank_p": self.rank_p,
            "random_p": self.p_value,
        }


@dataclass(frozen=True, kw_only=True)
class SweepEvidence(Evidence):
    """Evidence from one kind of direction at one place of a sweep."""

    direction: str
    """Kind of the direction."""
    part: str
    """What it is meant to move: the action or the word."""
    layers: str
    """The place."""
    layer: int
    """Its first layer."""
    places: int
    """Number of places."""
    least: float
    """Least change that counts."""
    within_reach: bool = field(metadata=NOT_IN_DETAIL)
    """Whether any direction can reach what is claimed at any place."""
    random: RandomControl = field(metadata=NOT_IN_DETAIL)
    """The comparison with random directions under the same kind of edit."""

    def detail(self) -> dict[str, Any]:
        """Return the fields by name, those of `random` among them."""
        return {**super().detail(), **self.random.detail()}


def common_evidence(best: Best, which: int) -> dict[str, Any]:
    """Return what the evidence of both claims has; `which` of the numbers is the estimate."""
    bounds, target, column = best.bounds, best.target, best.column(which)
    place = target.responses.places.iloc[best.place]
    return {
        **fields_at(bounds.found, column, bounds.low, bounds.high, bounds.critical),
        "direction": target.kind,
        "part": target.part,
        "layers": str(place["layers"]),
        "layer": int(place["layer"]),
        "places": target.responses.n_places,
        "least": float(least_changes(target)[best.place]),
        "within_reach": best.within_reach,
    }


def compare_with_random(best: Best) -> RandomControl:
    """Compare the change of the target with those along random directions.

    The p-value asks whether one more random direction, at the place where it is least like the
    others, would be as unlike them. It is Student's tail for one more draw, since a rank among a
    few directions cannot fall below 1 / (directions + 1); the rank is used where a random direction
    is as unlike the others. It pays for the choice among the kinds.
    """
    change = best.bounds.found.estimate[-best.target.responses.n_places :]
    random = best.random
    if not len(random):
        return RandomControl(0, np.nan, np.nan, np.nan)
    here = random[:, best.place]
    ours = float(_unusual(change, random)[best.place])
    others = _unusual(random, random).max(axis=1)
    p = rank_p(ours, others)
    if len(others) >= 3 and ours > others.max():
        # The error of one more draw around the mean of the others.
        error = max(float(others.std(ddof=1)), 1e-6) * np.sqrt(1 + 1 / len(others))
        p = student_p(ours - others.mean(), error, len(others) - 1, 1e-6)
    p = min(1.0, best.kinds * p)
    return RandomControl(len(random), rank_p(change[best.place], here), p, float(here.max()))


def after_layers(layers: str) -> str:
    """Return a place in words."""
    several = "+" in layers
    return f"after layers {layers} at once" if several else f"after layer {layers}"
