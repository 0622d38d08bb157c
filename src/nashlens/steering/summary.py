"""A steering sweep as estimates: the response to each dose, and what changes over all doses.

Everything is an average over complete blocks. Each direction's change is split into the action, the
word and the place; the rows of what a direction is meant to move (its target) have the intervals of
claims M7 (adding) and M8 (clamping), so that figure and findings agree.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nashlens.contrasts import Array, wilson_interval
from nashlens.estimates import Bootstrap, collect, frame
from nashlens.factorial import BlockEstimate
from nashlens.steering.readings import TARGET_PARTS, Responses, Target, bounded

DESCRIPTIONS = {
    "response": "P of what the direction is meant to move, at a dose: action 1, or the first label",
    "change": "a part of P(action 1) at the largest dose minus that at the smallest",
}
"""Quantity -> what it is."""
PARTS = ("action", "word", "place")
_READ = {"add": ("M7", Target.both_ways), "clamp": ("M8", Target.monotone)}
_KEYS = dict.fromkeys(
    ("model", "kind", "quantity", "direction", "part", "words", "game", "layers"), "str"
)
_KEYS |= {"layer": "int64", "value": "float64"}
_FURTHER = {"target": "bool", "n_directions": "int64", "units": "str"}
_SCENARIOS = ("spread_scenario", "wrong_way", "wrong_low", "wrong_high")
_FURTHER |= dict.fromkeys(("spread_label_set", "spread_template", *_SCENARIOS), "float64")
_STILL = 1e-6
"""A change of P within it is rounding: such a scenario moves neither way."""


def steering_estimates(steering: pd.DataFrame, *, model: str, how: Bootstrap) -> pd.DataFrame:
    """Return the response to adding and to clamping, place by place.

    Parameters
    ----------
    steering : DataFrame
        Of `sweep_table`, one model.
    model : str
    how : Bootstrap

    Returns
    -------
    DataFrame
        `model`, `kind`, `quantity` (see `DESCRIPTIONS`), `direction` (a kind, or `random`: the mean
        over random directions, with quantiles over them as bounds), `part` (of a change also
        `identity` and `swapped`: P(action 1) under that label map), `words` (`all`, `seen`,
        `unseen`), `game` (missing: all games), `layers`, `layer`, `value` (missing for the change),
        `estimates.COLUMNS`, `target` (what the direction is meant to move, and is judged by),
        `n_directions`, `units` (of doses that are added), and of a change how its true values
        spread over label sets and templates, and `scenario_changes`.
    """
    tables = []
    for kind in _READ:
        responses = Responses(steering, kind)
        if len(responses) and responses.kinds:
            reading = _Reading(responses, kind, model, how)
            parts = [*reading.responses_to_doses(), *reading.changes()]
            units = steering["units"].iloc[0]
            tables += [table.assign(kind=kind, model=model, units=units) for table in parts]
    return collect(tables, _KEYS, _FURTHER)


class _Reading:
    """What the summary says of one kind of edit."""

    def __init__(self, responses: Responses, kind: str, model: str, how: Bootstrap):
        self.responses, self.kind, self.model, self.how = responses, kind, model, how
        unseen = responses.unseen
        chosen = {"all": np.ones(len(unseen), dtype=bool), "seen": ~unseen, "unseen": unseen}
        self.words: dict[str, NDArray[np.bool_]] = {k: v for k, v in chosen.items() if v.any()}

    def responses_to_doses(self) -> Iterator[pd.DataFrame]:
        """Yield P of what each direction is meant to move, at each dose."""
        for kind in self.responses.kinds:
            part = TARGET_PARTS[kind]
            values = self._response(kind, part)
            games = self.responses.blocks.frame["game"].astype(str).to_numpy()
            for words, chosen in self.words.items():
                target = self._is_target(kind, part, words)
                common: dict[str, Any] = {"direction": kind, "part": part, "words": words}
                common["target"] = target
                doses = self.responses.doses
                yield self._doses(values, chosen, doses).assign(**common, game=None)
                for game in dict.fromkeys(games) if target else ():
                    found = self._doses(values, chosen & (games == game), doses)
                    yield found.assign(**common, game=game)
        parts = dict.fromkeys(TARGET_PARTS[kind] for kind in self.responses.kinds)
        for part in parts if self.responses.random else ():
            for words, chosen in self.words.items():
                yield self._random_doses(part, chosen).assign(
                    direction="random", part=part, words=words, target=False, game=None
                )

    def _response(self, direction: str, part: str) -> Array:
        """Return P of what a part points to, (blocks, places, doses)."""
        response = self.responses.response(direction)
        # A part of P - 1/2 is what P of its action, or of its label, has over 1/2.
        flat = response.p.reshape(len(response.p), -1) - 0.5
        found = self.responses.blocks.parts(flat, np.ones(len(flat)))[part] + 0.5
        return found.reshape(len(found), *response.p.shape[1:])

    def _doses(self, values: Array, chosen: NDArray[np.bool_], doses: Array) -> pd.DataFrame:
        found = self.responses.blocks.estimate(values.reshape(len(values), -1), chosen)
        low, high = found.interval(self.how.confidence)
        table = frame(found.estimate, low, high, "student", found.n, found.n_clusters)
        return self._at_places(table, doses).assign(quantity="response", n_directions=1)

    def _random_doses(self, part: str, chosen: NDArray[np.bool_]) -> pd.DataFrame:
        """Return the mean over random directions, and where they lie, at the doses of all."""
        names = self.responses.random
        doses = self.responses.response(names[0]).doses
        values = [self._response(name, part) for name in names]
        flat = np.hstack([one.reshape(len(one), -1) for one in values])
        found = self.responses.blocks.estimate(flat, chosen)
        means = found.estimate.reshape(len(names), -1)
        table = self._over_directions(means, found)
        return self._at_places(table, doses).assign(quantity="response")

    def _at_places(self, table: pd.DataFrame, doses: Array) -> pd.DataFrame:
        places = self.responses.places
        each = places.loc[places.index.repeat(len(doses))].reset_index(drop=True)
        return pd.concat([table, each], axis=1).assign(value=np.tile(doses, len(places)))

    def _over_directions(self, means: Array, found: BlockEstimate) -> pd.DataFrame:
        """Return the mean of some random directions' means and the quantiles around it."""
        tail = (1 - self.how.confidence) / 2
        low, high = np.quantile(means, [tail, 1 - tail], axis=0)
        table = frame(means.mean(axis=0), low, high, "directions", found.n, found.n_clusters)
        return table.assign(n_directions=len(means))

    def _is_target(self, kind: str, part: str, words: str) -> bool:
        return part == TARGET_PARTS[kind] and words == ("unseen" if kind == "label" else "all")

    def changes(self) -> Iterator[pd.DataFrame]:
        """Yield the change of each part along each direction, and along random ones."""
        if len(self.responses.doses) < 2:
            return
        judged = self._judged()
        for kind in self.responses.kinds:
            by_map = self.responses.by_map(kind)
            per_block = {part: self.responses.changes(kind, part) for part in PARTS} | by_map
            for part, values in per_block.items():
                for words, chosen in self.words.items():
                    target = self._is_target(kind, part, words)
                    found = self.responses.blocks.estimate(values, chosen)
                    bounds = judged[kind] if target and kind in judged else self._bounds(found)
                    yield self._described(found, *bounds).assign(
                        direction=kind, part=part, words=words, target=target, game=None
                    )
        for part in PARTS if self.responses.random else ():
            for words, chosen in self.words.items():
                names = self.responses.random
                each = np.hstack([self.responses.changes(name, part) for name in names])
                found = self.responses.blocks.estimate(each, chosen)
                means = found.estimate.reshape(len(names), -1)
                table = pd.concat(
                    [self._over_directions(means, found), self.responses.places], axis=1
                )
                yield table.assign(
                    **{"quantity": "change", "direction": "random", "part": part, "words": words},
                    target=False,
                    game=None,
                )

    def _judged(self) -> dict[str, tuple[Array, Array]]:
        """Return the bounds that the claim has of each kind's target."""
        claim, read = _READ[self.kind]
        if self.kind == "add" and 0.0 not in self.responses.doses[1:-1]:
            return {}
        found = bounded(
            self.responses,
            read,
            confidence=self.how.confidence,
            resamples=self.how.resamples,
            rng=lambda kind: self.how.rng("findings", self.model, f"{claim} {kind}"),
        )
        n = self.responses.n_places
        return {one.target.kind: (one.low[-n:], one.high[-n:]) for one in found}

    def _bounds(self, found: BlockEstimate) -> tuple[Array, Array]:
        """Return bounds that hold for all places at once."""
        return found.interval(self.how.confidence, at_once=self.responses.n_places)

    def _described(self, found: BlockEstimate, low: Array, high: Array) -> pd.DataFrame:
        single = found.n_clusters < 2
        if single:
            low, high = np.full_like(low, np.nan), np.full_like(high, np.nan)
        table = frame(found.estimate, low, high, "simultaneous", found.n, found.n_clusters)
        spread = {f"spread_{column}": found.over(column)[2] for column in ("label_set", "template")}
        described = pd.concat([table, self.responses.places], axis=1)
        scenarios = scenario_changes(found, self.how.confidence)
        return described.assign(quantity="change", n_directions=1, **spread, **scenarios)


def scenario_changes(found: BlockEstimate, confidence: float) -> dict[str, Array]:
    """Return how a change differs between scenarios, for each column of block values.

    A scenario is a history, so that what it does in several surface forms is averaged first. Many
    directions push some prompts against their mean (Tan et al. 2024, arXiv 2407.12404).

    Parameters
    ----------
    found : BlockEstimate
        Of changes that are meant to be positive.
    confidence : float
        Coverage of the bounds.

    Returns
    -------
    dict of str to ndarray, shape (k,)
        `spread_scenario` (standard deviation over scenarios), `wrong_way` (share of scenarios whose
        change is negative), `wrong_low` and `wrong_high` (Wilson's bounds of that share).
    """
    names = found.frame[found.cluster].astype(str).to_numpy()
    by_scenario = pd.DataFrame(found.values).groupby(names).mean().to_numpy()
    n, k = by_scenario.shape
    if n == 0:
        return dict.fromkeys(_SCENARIOS, np.full(k, np.nan))
    wrong = (by_scenario < -_STILL).sum(axis=0)
    bounds = {count: wilson_interval(int(count), n, confidence) for count in np.unique(wrong)}
    low, high = np.array([bounds[count] for count in wrong]).T
    spread = by_scenario.std(axis=0, ddof=1) if n > 1 else np.full(k, np.nan)
    return dict(zip(_SCENARIOS, (spread, wrong / n, low, high), strict=True))
