"""What a steering sweep moved: the action, the word or the place, for each direction and dose.

P(action 1) is split over complete blocks (`nashlens.factorial`): its *action part* is what moves
towards action 1 whatever word stands for it, its *word part* what moves towards the pair's first
label whatever that means, its *place part* what moves towards the option listed first.

Each kind of direction has a *target*, what it is meant to move and could not move by knowing a
word: `abstract` and `published` the action part, `label` the word part on label sets that it was
not fitted on. The intervals of a target hold for all places at once, and for all kinds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nashlens.contrasts import Array, rank_correlations
from nashlens.factorial import BlockEstimate, ScenarioBlocks
from nashlens.kept import neutral
from nashlens.vocabulary.edits import CONCEPT_KINDS, DIRECTION_KINDS

TARGET_PARTS = {
    "abstract": "action",
    "label": "word",
    **dict.fromkeys(("published", *CONCEPT_KINDS), "action"),
}
"""Kind of direction -> the part that it is meant to move."""
STRATA = ("game", "label_set")
"""What intervals take as given. Not the template: a game has two histories with each template and
label set, whose spread alone would leave errors with one or two degrees of freedom. Intervals so
include how far templates differ, which makes them wider."""
_CELL = ["block_id", "label_map", "option_order"]


@dataclass(frozen=True)
class Response:
    """P(action 1) along one direction."""

    doses: Array
    """(doses,): in ascending order."""
    p: Array
    """(prompts, places, doses)."""


class Responses:
    """P(action 1) under one kind of edit on prompts with neutral words, in complete blocks.

    Parameters
    ----------
    steering : DataFrame
        Of `sweep_table`, one model.
    kind : str
        Kind of edit.

    Attributes
    ----------
    places : DataFrame
        `layer` and `layers` of each place: single layers in ascending order, then joint ones.
    kinds : list of str
        Kinds of directions.
    doses : ndarray
        Those of the kinds, in ascending order.
    blocks : ScenarioBlocks
        Prompts that lack any dose of any kind are left out, and so are their blocks.
    """

    def __init__(self, steering: pd.DataFrame, kind: str):
        rows = neutral(steering[steering["kind"] == kind])
        self.kinds: list[str] = [
            name for name in DIRECTION_KINDS if (rows["direction"] == name).any()
        ]
        ours = rows[rows["direction"].isin(self.kinds)]
        places = ours[["layer", "layers"]].drop_duplicates()
        several = places["layers"].str.count(r"\+")
        self.places = places.assign(n=several).sort_values(["n", "layer", "layers"])
        self.places = self.places[["layer", "layers"]].reset_index(drop=True)
        self.doses: Array = np.sort(ours["value"].unique()).astype(np.float64)
        prompts = ours.drop_duplicates(_CELL).sort_values(_CELL).reset_index(drop=True)
        at = pd.MultiIndex.from_frame(prompts[_CELL])
        # Spikes do this thousands of times, so other columns are not carried along.
        read = rows[["direction", "layers", "value", "p_action_1"]].assign(
            at=at.get_indexer(pd.MultiIndex.from_frame(rows[_CELL]))
        )
        by_direction = {str(name): part for name, part in read.groupby("direction", sort=True)}
        cubes = {k: self._cube(by_direction[k], len(prompts), self.doses) for k in self.kinds}
        known = np.ones(len(prompts), dtype=bool)
        for cube in cubes.values():
            known &= ~np.isnan(cube).any(axis=(1, 2))
        self.blocks = ScenarioBlocks(prompts[known], strata=STRATA)
        self._responses = {k: Response(self.doses, cube[known]) for k, cube in cubes.items()}
        self.random: list[str] = []
        """Random directions that have the smallest and the largest dose on the same prompts."""
        for name, part in by_direction.items():
            doses = np.sort(part["value"].unique()).astype(np.float64)
            if name in cubes or not len(doses) or not np.isin(self.doses[[0, -1]], doses).all():
                continue
            cube = self._cube(part, len(prompts), doses)[known]
            if not np.isnan(cube).any():
                self.random.append(name)
                self._responses[name] = Response(doses, cube)

    def _cube(self, rows: pd.DataFrame, prompts: int, doses: Array) -> Array:
        """Return P(action 1), (prompts, places, doses), NaN where there is no row."""
        cube = np.full((prompts, len(self.places), len(doses)), np.nan)
        place = pd.Index(self.places["layers"]).get_indexer(rows["layers"])
        dose = np.searchsorted(doses, rows["value"].to_numpy(dtype=np.float64))
        at = rows["at"].to_numpy()
        used = (at >= 0) & (place >= 0)
        cube[at[used], place[used], dose[used]] = rows["p_action_1"].to_numpy(dtype=float)[used]
        return cube

    def __len__(self) -> int:
        return len(self.blocks)

    @property
    def n_places(self) -> int:
        """Number of places."""
        return len(self.places)

    @cached_property
    def unseen(self) -> NDArray[np.bool_]:
        """(blocks,): whether no direction was fitted on the block's words."""
        return ~self.blocks.frame["seen_label_set"].to_numpy(dtype=bool)

    def response(self, direction: str) -> Response:
        """Return what is known along one direction."""
        return self._responses[direction]

    def parts(self, direction: str) -> dict[str, Array]:
        """Return the parts of P(action 1), each (blocks, places, doses), towards action 1."""
        if direction not in self._parts:
            response = self._responses[direction]
            flat = response.p.reshape(len(response.p), -1)
            parts = self.blocks.parts(flat, np.ones(len(flat)))
            shape = (len(self.blocks), *response.p.shape[1:])
            self._parts[direction] = {name: v.reshape(shape) for name, v in parts.items()}
        return self._parts[direction]

    @cached_property
    def _parts(self) -> dict[str, dict[str, Array]]:
        return {}

    def changes(self, direction: str, part: str) -> Array:
        """Return the change of a part from the smallest to the largest dose, (blocks, places)."""
        found = self.parts(direction)[part]
        return np.asarray(found[:, :, -1] - found[:, :, 0])

    def by_map(self, direction: str) -> dict[str, Array]:
        """Return the change of P(action 1) under each label map, each (blocks, places)."""
        action, word = self.changes(direction, "action"), self.changes(direction, "word")
        # The first label means action 1 under the second map, so the word part adds to it there.
        return {"identity": action - word, "swapped": action + word}

    def targets(self) -> list[Target]:
        """Return the target of each kind of direction that can be judged."""
        found = []
        for kind in self.kinds:
            chosen = self.unseen if kind == "label" else np.ones(len(self), dtype=bool)
            if chosen.any():
                found.append(Target(self, kind, TARGET_PARTS[kind], chosen))
        return found


@dataclass(frozen=True)
class Target:
    """What one kind of direction is meant to move, and could not move by knowing a word."""

    responses: Responses
    kind: str
    part: str
    chosen: NDArray[np.bool_]
    """(blocks,): those that it is judged on."""

    @cached_property
    def values(self) -> Array:
        """(blocks, places, doses): the part, of all blocks."""
        return self.responses.parts(self.kind)[self.part]

    def estimate(self, per_block: Array) -> BlockEstimate:
        """Average columns (blocks, k) over the blocks that the target is judged on."""
        return self.responses.blocks.estimate(per_block, self.chosen)

    def both_ways(self) -> BlockEstimate:
        """Average the change up from dose 0, down from it, and both together.

        Columns are all places of the first, then of the second, then of the third.
        """
        unsteered = self.values[:, :, np.flatnonzero(self.responses.doses == 0)[0]]
        up, down = self.values[:, :, -1] - unsteered, unsteered - self.values[:, :, 0]
        return self.estimate(np.hstack([up, down, up + down]))

    def monotone(self) -> BlockEstimate:
        """Average the rank correlation of the part with the dose, and the part's change.

        Columns are all places of the first, then of the second.
        """
        change = self.values[:, :, -1] - self.values[:, :, 0]
        # Rounded, so that what does not move but for rounding has no order.
        correlation = rank_correlations(self.values.round(7), self.responses.doses)
        return self.estimate(np.hstack([correlation, change]))

    def random_changes(self) -> Array:
        """Return the mean change of the same part along random directions, (random, places)."""
        names = self.responses.random
        if not names:
            return np.zeros((0, self.responses.n_places))
        # All directions in one average, which costs hardly more than one of them.
        changes = [self.responses.changes(name, self.part) for name in names]
        return self.estimate(np.hstack(changes)).estimate.reshape(len(names), -1)

    def change_on(self, blocks: NDArray[np.bool_], part: str | None = None) -> BlockEstimate:
        """Average the change of a part (the target's own) over some blocks, by place."""
        change = self.responses.changes(self.kind, part or self.part)
        return self.responses.blocks.estimate(change, blocks)


@dataclass(frozen=True)
class TargetBounds:
    """What was read of a target, with bounds of each number that hold for all places at once."""

    target: Target
    found: BlockEstimate
    """Of `Target.both_ways` or `Target.monotone`."""
    low: Array
    high: Array
    critical: Array
    """Half-widths of the intervals in errors."""

    def at(self, which: int) -> slice:
        """Return the columns of one of the numbers that were read, all places of it."""
        n = self.target.responses.n_places
        return slice(which * n, (which + 1) * n)


def bounded(
    responses: Responses,
    read: Callable[[Target], BlockEstimate],
    *,
    confidence: float,
    resamples: int,
    rng: Callable[[str], np.random.Generator],
) -> list[TargetBounds]:
    """Return bounds of all targets; each number's hold for all kinds and all places at once.

    Parameters
    ----------
    responses : Responses
    read : callable
        `Target.both_ways` or `Target.monotone`.
    confidence : float
        Coverage, shared between the kinds.
    resamples : int
    rng : callable
        The random stream of a kind.
    """
    targets = responses.targets()
    each = 1.0 - (1.0 - confidence) / max(len(targets), 1)
    result = []
    for target in targets:
        found, draw, n = read(target), rng(target.kind), responses.n_places
        groups = [found.values[:, k : k + n] for k in range(0, len(found.estimate), n)]
        # Rules that need several numbers need all of them, so each pays for the places only.
        parts = [
            BlockEstimate.of(found.frame, group, found.cluster, found.strata).simultaneous(
                each, resamples, draw
            )
            for group in groups
        ]
        low, high, critical = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        result.append(TargetBounds(target, found, low, high, critical))
    return result
