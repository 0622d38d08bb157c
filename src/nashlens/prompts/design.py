"""Histories and their wordings: what is asked, and in which surface forms.

A *scenario* is a game, payoff variant, seat, opponent, history and round. It is asked in *blocks*:
one template and label set, in all combinations of label map and option order. So within a block
nothing but the label map and the option order differs.

Crossing everything would multiply the prompts, so variants, seats, opponents, templates and label
sets are dealt to the histories, as evenly as can be, and none of them may go with another: a probe
could otherwise read the seat off a label. Templates or label sets can be crossed instead: every
history is then asked in all of them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

from nashlens.errors import DataError
from nashlens.games.game import SEATS, Game
from nashlens.prompts.render import Surface
from nashlens.seeds import stream
from nashlens.vocabulary.prompts import ACTION_LABELS, CROSSABLE, LABEL_KINDS

LabelSets = Mapping[str, Sequence[str] | str]
"""As the config's `prompts.label_sets`: a pair of labels, or `actions`, by name."""


def neutral_sets(label_sets: LabelSets) -> dict[str, Sequence[str]]:
    """Return the label sets that say nothing about a game."""
    return {name: pair for name, pair in label_sets.items() if not isinstance(pair, str)}


def game_labels(pair: Sequence[str] | str, game: Game | None = None) -> tuple[str, str]:
    """Return the two labels of a label set in a game.

    Parameters
    ----------
    pair : pair of str, or `actions`
        `actions` gives the game's own names of its two actions, with a capital.
    game : Game, optional
        For `actions` only.

    Raises
    ------
    DataError
        If there is no game to take names from.
    """
    if pair != ACTION_LABELS:
        return pair[0], pair[1]
    if game is None:
        raise DataError(f"labels {pair!r}: these are a game's names of its actions; give a game")
    first, second = (name[:1].upper() + name[1:] for name in game.actions)
    return first, second


def surfaces(
    templates: Sequence[str],
    label_sets: LabelSets,
    label_maps: Sequence[str],
    option_orders: Sequence[str],
    game: Game | None = None,
) -> list[Surface]:
    """Return all surface forms, the template slowest and the option order fastest.

    Parameters
    ----------
    templates, label_maps, option_orders : sequence of str
    label_sets : mapping of str to pair of str, or `actions`
    game : Game, optional
        Whose actions label sets of the kind `actions` name.
    """
    return [
        Surface(
            template,
            name,
            game_labels(pair, game),
            label_map,
            option_order,
            LABEL_KINDS[pair == ACTION_LABELS],
        )
        for template, (name, pair), label_map, option_order in product(
            templates, label_sets.items(), label_maps, option_orders
        )
    ]


@dataclass(frozen=True)
class PlannedHistory:
    """One history of the design: whose decisions are asked, and in which wordings."""

    match_id: str
    """GAME/NUMBER, which also names the stream of its moves."""
    variant: int
    """Index into the game's list of variants; 0 is the game itself."""
    seat: str
    opponent: str
    """The other seat's strategy."""
    wordings: tuple[tuple[str, str], ...]
    """Each template and label set that it is asked in."""


def plan_histories(
    game: str,
    *,
    templates: Sequence[str],
    label_sets: Sequence[str],
    crossed: Collection[str],
    n_variants: int,
    opponents: Sequence[str],
    histories: int,
    seed: int,
) -> list[PlannedHistory]:
    """Give every history of a game its variant, seat, opponent, template and label set.

    Histories get their levels one after another. Each gets the variant, seat and opponent that were
    used least so far; of those, the ones that were used least together. Then it gets the template
    and label set that were used least together, and of those the ones that were used least with its
    variant, seat and opponent. The seed decides between levels that are still equal. This is
    minimisation as in clinical trials (Pocock and Simon 1975).

    A history that is added changes no other. A template or label set that is added changes no
    scenario: it only takes its share of the histories (crossed, not even that).

    Parameters
    ----------
    game : str
        The game's key; other games have no influence.
    templates : sequence of str
    label_sets : sequence of str
        Their names.
    crossed : collection of str
        Which of `CROSSABLE` every history is asked in all of.
    n_variants : int
        Number of the game's payoff variants, the game itself included.
    opponents : sequence of str
        Strategies of the other seat.
    histories : int
        Number of histories.
    seed : int
        The experiment's seed.

    Returns
    -------
    list of PlannedHistory
        The counts of a factor's levels (variants, seats, opponents, pairs of template and label
        set) differ by at most 1.

    Raises
    ------
    DataError
        If there is nothing to choose from.
    """
    sizes = (len(templates), len(label_sets))
    if min(n_variants, len(opponents), *sizes, histories) < 1:
        raise DataError(
            f"prompts of game {game}: {n_variants} variants, {len(opponents)} opponents, "
            f"{sizes[0]} templates, {sizes[1]} label sets, {histories} histories: each must be at "
            "least 1"
        )
    levels_of = (n_variants, len(SEATS), len(opponents))
    cast = _cast(levels_of, histories, stream(seed, "design", game))
    # A crossed factor is not dealt: as if it had one level.
    dealt = tuple(
        1 if name in crossed else size for name, size in zip(CROSSABLE, sizes, strict=True)
    )
    words = _wordings(cast, levels_of, dealt, stream(seed, "design", game, "wordings"))
    planned = []
    for number, (levels, found) in enumerate(zip(cast, words, strict=True)):
        in_templates, in_sets = (
            names if name in crossed else names[level : level + 1]
            for name, names, level in zip(CROSSABLE, (templates, label_sets), found, strict=True)
        )
        planned.append(
            PlannedHistory(
                match_id=f"{game}/{number}",
                variant=levels[0],
                seat=SEATS[levels[1]],
                opponent=opponents[levels[2]],
                wordings=tuple(product(in_templates, in_sets)),
            )
        )
    return planned


_Levels = tuple[int, ...]
_Counts = NDArray[np.int64]


def _cast(sizes: _Levels, histories: int, rng: np.random.Generator) -> list[_Levels]:
    """Deal variants, seats and opponents: the levels of each history."""
    used: list[_Counts] = [np.zeros(size, np.int64) for size in sizes]
    together: dict[tuple[int, int], _Counts] = {
        (a, b): np.zeros((sizes[a], sizes[b]), np.int64)
        for a, b in combinations(range(len(sizes)), 2)
    }
    dealt = []
    for _ in range(histories):
        # Only combinations of levels of which each is among its factor's least used.
        every = np.ix_(*(np.flatnonzero(counts == counts.min()) for counts in used))
        costs = np.zeros([one.size for one in every], np.int64)
        for (a, b), counts in together.items():
            costs += counts[every[a], every[b]]
        place = np.unravel_index(_least(costs.ravel(), rng), costs.shape)
        chosen = tuple(int(one.flat[k]) for one, k in zip(every, place, strict=True))
        for counts, level in zip(used, chosen, strict=True):
            counts[level] += 1
        for (a, b), counts in together.items():
            counts[chosen[a], chosen[b]] += 1
        dealt.append(chosen)
    return dealt


def _wordings(
    cast: Sequence[_Levels], levels_of: _Levels, sizes: _Levels, rng: np.random.Generator
) -> list[_Levels]:
    """Deal templates and label sets to histories: the two levels of each."""
    # What has few levels can be spread exactly, so it comes first: the seat.
    weights = [round((max(levels_of) / size) ** 2) for size in levels_of]
    # How often each template and label set were used together, and this by each level of the cast.
    used = np.zeros(sizes, np.int64)
    used_by = [np.zeros((size, *sizes), np.int64) for size in levels_of]
    dealt = []
    for history in cast:
        costs = _alone(used)
        for weight, counts, level in zip(weights, used_by, history, strict=True):
            costs = costs + weight * (counts[level] + _alone(counts[level]))
        # Only pairs that were used least.
        every = np.argwhere(used == used.min())
        chosen = tuple(int(level) for level in every[_least(costs[tuple(every.T)], rng)])
        used[chosen] += 1
        for counts, level in zip(used_by, history, strict=True):
            counts[(level, *chosen)] += 1
        dealt.append(chosen)
    return dealt


def _alone(used: _Counts) -> _Counts:
    """Return for each pair how often its template and its label set were used, together."""
    return used.sum(1, keepdims=True) + used.sum(0, keepdims=True)


def _least(costs: _Counts, rng: np.random.Generator) -> int:
    """Return the index of the least cost; of equals, one at random."""
    equal = np.flatnonzero(costs == costs.min())
    return int(equal[rng.integers(len(equal))])
