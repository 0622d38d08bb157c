"""The crossing of surface forms, and who plays what in which of them.

Surface forms are fully crossed. A game's payoff variant, the seat and the opponent are not
crossed with them (that would multiply the prompts by their number) but spread over them, and no
surface attribute may go with one of them: a probe could otherwise read the seat off a label.
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
class Cell:
    """One match of the design: a game in a surface form, with who plays what."""

    match_id: str
    surface: Surface
    variant: int
    """Index into the game's list of variants; 0 is the game itself."""
    seat: str
    opponent: str


def assign(
    game: str,
    forms: Sequence[Surface],
    *,
    n_variants: int,
    opponents: Sequence[str],
    histories: int,
    seed: int,
) -> list[Cell]:
    """Give every surface form and history of a game its variant, seat and opponent.

    Cells are filled in turn, each with the levels used least so far: first over all cells, then
    together with the cell's own surface attributes and with one another; what is still equal is
    drawn by seed. This is minimisation as in clinical trials (Pocock and Simon 1975).

    Parameters
    ----------
    game : str
        The game's key; other games have no influence.
    forms : sequence of Surface
        From `surfaces`. Forms added at the end leave the cells before them as they were.
    n_variants : int
        How many payoffs the game has, itself included.
    opponents : sequence of str
        Strategies of the other seat.
    histories : int
        Matches for each surface form.
    seed : int
        The experiment's seed.

    Returns
    -------
    list of Cell
        One per surface form and history; each level's counts differ by at most 1.

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
    cells = []
    for form, history in product(forms, range(histories)):
        levels = tally.place(list(_attributes(form)), rng)
        cells.append(
            Cell(
                match_id=f"{game}/{form.code}/{history}",
                surface=form,
                variant=levels[0],
                seat=SEATS[levels[1]],
                opponent=opponents[levels[2]],
            )
        )
    return cells


def _attributes(form: Surface) -> Iterator[Hashable]:
    for name in ("template", "label_set", "label_map", "option_order"):
        yield name, getattr(form, name)
    # The label that stands first goes with label map and option order together, with neither
    # alone, so it is balanced by name.
    yield "first", form.labels.index(form.label(form.order[0]))


class _Tally:
    """Counts of factor levels, alone, with one another and with surface attributes."""

    def __init__(self, sizes: tuple[int, ...]):
        self.sizes = sizes
        self.alone = [np.zeros(size) for size in sizes]
        self.pairs = {
            (a, b): np.zeros((sizes[a], sizes[b]))
            for a in range(len(sizes))
            for b in range(a + 1, len(sizes))
        }
        self.within: dict[Hashable, list[np.ndarray]] = defaultdict(
            lambda: [np.zeros(size) for size in sizes]
        )

    def place(self, attributes: list[Hashable], rng: np.random.Generator) -> tuple[int, ...]:
        """Choose and count the levels of the next cell."""
        second = np.zeros(self.sizes)
        for (a, b), joint in self.pairs.items():
            second += self._spread(joint, a, b)
        for attribute in attributes:
            for factor, counts in enumerate(self.within[attribute]):
                second += self._spread(counts, factor)
        allowed = np.ones(self.sizes, dtype=bool)
        for factor, counts in enumerate(self.alone):
            allowed &= self._spread(counts == counts.min(), factor)
        candidates = np.argwhere(allowed & (second == second[allowed].min()))
        chosen = tuple(int(level) for level in candidates[rng.integers(len(candidates))])
        self._count(chosen, attributes)
        return chosen

    def _count(self, chosen: tuple[int, ...], attributes: list[Hashable]) -> None:
        for factor, level in enumerate(chosen):
            self.alone[factor][level] += 1
            for attribute in attributes:
                self.within[attribute][factor][level] += 1
        for a, b in self.pairs:
            self.pairs[a, b][chosen[a], chosen[b]] += 1

    def _spread(self, values: np.ndarray, *factors: int) -> np.ndarray:
        """Give values over some factors the other factors' axes, of length 1."""
        shape = [size if k in factors else 1 for k, size in enumerate(self.sizes)]
        return values.reshape(shape)
