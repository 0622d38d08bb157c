"""The crossing of surface forms, and which variant, seat and opponent each of them gets.

Surface forms are fully crossed. A game's payoff variant, the seat and the opponent are not
crossed with them, which would multiply the prompts by their number, but spread over them. None of
the three may correlate with a surface attribute: a probe could otherwise read the seat off a label.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from nashlens.errors import DataError
from nashlens.games.game import SEATS
from nashlens.prompts.render import Surface
from nashlens.seeds import stream


def surfaces(
    templates: Sequence[str],
    label_sets: Mapping[str, Sequence[str]],
    label_maps: Sequence[str],
    option_orders: Sequence[str],
) -> list[Surface]:
    """Return all surface forms, the template slowest and the option order fastest."""
    return [
        Surface(template, name, (labels[0], labels[1]), label_map, option_order)
        for template, (name, labels), label_map, option_order in product(
            templates, label_sets.items(), label_maps, option_orders
        )
    ]


@dataclass(frozen=True)
class PlannedMatch:
    """One match of the design: a surface form with its variant, seat and opponent."""

    match_id: str
    surface: Surface
    variant: int
    """Index into the game's list of variants; 0 is the game itself."""
    seat: str
    opponent: str
    """The other seat's strategy."""


def assign_matches(
    game: str,
    forms: Sequence[Surface],
    *,
    n_variants: int,
    opponents: Sequence[str],
    histories: int,
    seed: int,
) -> list[PlannedMatch]:
    """Give every surface form and history of a game its variant, seat and opponent.

    Matches get their levels one after another. Each gets the levels used least so far: first in
    all matches, then together with its own surface attributes and with one another. The seed
    decides between levels that are still equal. This is minimisation as in clinical trials
    (Pocock and Simon 1975).

    Parameters
    ----------
    game : str
        The game's key; other games have no influence.
    forms : sequence of Surface
        From `surfaces`. Forms that are added at the end do not change the matches before them.
    n_variants : int
        Number of the game's payoff variants, the game itself included.
    opponents : sequence of str
        Strategies of the other seat.
    histories : int
        Number of matches for each surface form.
    seed : int
        The experiment's seed.

    Returns
    -------
    list of PlannedMatch
        One for each surface form and history; the counts of a factor's levels differ by at most
        1.

    Raises
    ------
    DataError
        If there is nothing to choose from.
    """
    if n_variants < 1 or not opponents or not forms or histories < 1:
        raise DataError(
            f"prompts of game {game}: {n_variants} variants, {len(opponents)} opponents, "
            f"{len(forms)} surface forms, {histories} histories: each must be at least 1"
        )
    rng = stream(seed, "design", game)
    sizes = (n_variants, len(SEATS), len(opponents))
    tally = _Tally(sizes)
    planned = []
    for form, history in product(forms, range(histories)):
        levels = tally.choose(list(_attributes(form)), rng)
        planned.append(
            PlannedMatch(
                match_id=f"{game}/{form.code}/{history}",
                surface=form,
                variant=levels[0],
                seat=SEATS[levels[1]],
                opponent=opponents[levels[2]],
            )
        )
    return planned


def _attributes(form: Surface) -> Iterator[Hashable]:
    for name in ("template", "label_set", "label_map", "option_order"):
        yield name, getattr(form, name)
    # Which label is listed first depends on label map and option order together, on neither
    # by itself, so it is an attribute of its own.
    yield "first", form.labels.index(form.label(form.order[0]))


class _Tally:
    """Counts of the factors' levels, of pairs of levels, and of levels with attributes."""

    def __init__(self, sizes: tuple[int, ...]):
        self.sizes = sizes
        self.levels = [np.zeros(size) for size in sizes]
        self.pairs = {
            (a, b): np.zeros((sizes[a], sizes[b]))
            for a in range(len(sizes))
            for b in range(a + 1, len(sizes))
        }
        self.by_attribute: dict[Hashable, list[np.ndarray]] = defaultdict(
            lambda: [np.zeros(size) for size in sizes]
        )

    def choose(self, attributes: list[Hashable], rng: np.random.Generator) -> tuple[int, ...]:
        """Choose the levels of the next match, one a factor, and count them."""
        # For each combination of levels, how often it was used in pairs and with the attributes.
        used = np.zeros(self.sizes)
        for (a, b), joint in self.pairs.items():
            used += self._spread(joint, a, b)
        for attribute in attributes:
            for factor, counts in enumerate(self.by_attribute[attribute]):
                used += self._spread(counts, factor)
        # Only combinations of levels of which each is among its factor's least used.
        allowed = np.ones(self.sizes, dtype=bool)
        for factor, counts in enumerate(self.levels):
            allowed &= self._spread(counts == counts.min(), factor)
        candidates = np.argwhere(allowed & (used == used[allowed].min()))
        chosen = tuple(int(level) for level in candidates[rng.integers(len(candidates))])
        self._count(chosen, attributes)
        return chosen

    def _count(self, chosen: tuple[int, ...], attributes: list[Hashable]) -> None:
        for factor, level in enumerate(chosen):
            self.levels[factor][level] += 1
            for attribute in attributes:
                self.by_attribute[attribute][factor][level] += 1
        for a, b in self.pairs:
            self.pairs[a, b][chosen[a], chosen[b]] += 1

    def _spread(self, values: np.ndarray, *factors: int) -> np.ndarray:
        """Give values over some factors the other factors' axes, of length 1."""
        shape = [size if k in factors else 1 for k, size in enumerate(self.sizes)]
        return values.reshape(shape)
