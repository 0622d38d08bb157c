"""Every measure of a single match: one row a match and seat (`matches.parquet`).

Cooperation and defection are the prosocial action and the other one. The table holds sums and
counts as well as shares, so that cells can add them up over matches.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nashlens.games.equilibria import is_zero_sum, prosocial_action, solve
from nashlens.games.game import Game
from nashlens.play.metrics import distances
from nashlens.play.metrics.rounds import Rounds
from nashlens.play.metrics.rows import Array

CELLS = ("00", "01", "10", "11")
INTEGERS = (
    "n_rounds", "n_invalid", "opponent_n_invalid", "prosocial_action", "lock_onset",
    "lock_own", "lock_other",
    "first_defection", "partner_first_defection", "n_pure_equilibria",
)  # fmt: skip


def matches_table(rounds: Rounds) -> pd.DataFrame:
    """Return what each match shows, from each seat's view.

    Parameters
    ----------
    rounds : Rounds
        From `rounds_of`.

    Returns
    -------
    pandas.DataFrame
        Two rows a match, by match and seat; columns as documented in `docs/reference/results.md`.
    """
    joint = joint_rounds(rounds.own, rounds.other)
    columns: dict[str, Array] = {"n_rounds": rounds.length}
    columns |= {f"n_{cell}": joint[..., k].sum(axis=1) for k, cell in enumerate(CELLS)}
    columns["sum_p_action_0"] = np.nansum(rounds.own_p, axis=1)
    columns["n_p_action_0"] = (~np.isnan(rounds.own_p)).sum(axis=1)
    columns |= _cooperation(rounds)
    columns |= _payoffs(rounds, joint)
    columns |= _equilibrium_shares(rounds, joint)
    columns |= _nash(rounds, joint)
    columns |= locks_of(rounds)
    columns |= reciprocity(rounds)
    table = pd.concat([rounds.keys, pd.DataFrame(columns)], axis=1)
    return table.astype(dict.fromkeys(INTEGERS, "Int64"))


def joint_rounds(own: Array, other: Array) -> Array:
    """Return each round's joint action as an indicator, (n, t, 4); zeros where none was played."""
    # Cells 00, 01, 10, 11 are numbered 0 to 3; NaN is none of them.
    cells = 2 * own + other
    return (cells[..., None] == np.arange(4)).astype(np.float64)


def by_game(
    rounds: Rounds, value: Callable[[Game, NDArray[Any]], Array], shape: tuple[int, ...]
) -> Array:
    """Return an array, (n, *shape), that `value(game, lines)` fills for the lines of each game."""
    found = np.full((len(rounds.games), *shape), np.nan)
    lines: dict[Game, list[int]] = {}
    for k, game in enumerate(rounds.games):
        lines.setdefault(game, []).append(k)
    for game, chosen in lines.items():
        index = np.array(chosen)
        found[index] = value(game, index)
    return found


def _cooperation(rounds: Rounds) -> dict[str, Array]:
    """Return cooperation, each seat's first defection, and cooperation before and after it.

    The partner's first defection in round k can be answered from round k + 1 on, and by a seat
    that moves second already in round k.
    """

    def both_seats(game: Game, lines: NDArray[Any]) -> Array:
        both = [prosocial_action(game, "row"), prosocial_action(game, "column")]
        return np.tile(np.array(both, dtype=float), (len(lines), 1))

    prosocial = by_game(rounds, both_seats, (2,))
    length = rounds.length
    t = np.arange(1, rounds.own.shape[1] + 1)
    played = ~np.isnan(rounds.own)
    found: dict[str, Array] = {"prosocial_action": prosocial[:, 0]}
    first, cooperates = [], []
    for seat, moves in enumerate((rounds.own, rounds.other)):
        known = ~np.isnan(prosocial[:, seat])
        cooperates.append(played & (moves == prosocial[:, [seat]]))
        defects = played & ~cooperates[-1] & known[:, None]
        first.append(np.where(defects.any(axis=1), defects.argmax(axis=1) + 1.0, np.nan))
    count = np.where(np.isnan(prosocial[:, 0]), np.nan, cooperates[0].sum(axis=1))
    found["n_cooperation"] = count
    found["cooperation"] = _share(count, length)
    found["first_defection"], found["partner_first_defection"] = first
    second = (rounds.keys["turn"] == "second").to_numpy()
    answered = (first[1] + 1 - second)[:, None]  # the first round that can be an answer
    comparable = ~np.isnan(first[1]) & ~np.isnan(count)
    for name, when in (("before", t < answered), ("after", t >= answered)):
        size = np.where(comparable, (played & when).sum(axis=1), np.nan)
        n_cooperation = np.where(comparable, (cooperates[0] & when).sum(axis=1), np.nan)
        found |= {f"n_{name}": size, f"n_cooperation_{name}": n_cooperation}
        found[f"cooperation_{name}"] = _share(n_cooperation, size)
    return found


def _payoffs(rounds: Rounds, joint: Array) -> dict[str, Array]:
    """Return payoffs in points, payoffs scaled to a seat's least and largest, and efficiency.

    Efficiency of a cell = (sum of both payoffs - least sum) / (largest - least sum); undefined
    where all sums are equal.
    """

    def sums_of(game: Game, lines: NDArray[Any]) -> Array:
        own, other = np.array([game.payoff(i, j) for i in (0, 1) for j in (0, 1)]).T
        total = own + other
        efficiency = np.full(4, np.nan) if is_zero_sum(game) else _scaled(total)
        # Each cell's five values, (4, 5), times how often each line was in each cell, (n, 4).
        values = np.stack([own, other, _scaled(own), _scaled(other), efficiency], axis=1)
        sums = joint[lines].sum(axis=1) @ values
        control = np.full(len(lines), efficiency.mean())
        return np.column_stack([sums, control])

    names = ("payoff", "opponent_payoff", "scaled_payoff", "opponent_scaled_payoff", "efficiency")
    sums = by_game(rounds, sums_of, (6,))
    found = dict(zip((*names, "efficiency_control"), sums.T, strict=True))
    found["sum_efficiency"] = found["efficiency"]
    found["efficiency"] = _share(found["sum_efficiency"], rounds.length)
    return found


def _scaled(values: Array) -> Array:
    spread = np.ptp(values)
    return (values - values.min()) / spread if spread else np.full(len(values), np.nan)


def _equilibrium_shares(rounds: Rounds, joint: Array) -> dict[str, Array]:
    """Count rounds in a pure equilibrium, and in the one in which either seat earns most.

    Missing where there is one pure equilibrium or none; the preferred ones also where a seat
    earns the same in several of them.
    """

    def counts_of(game: Game, lines: NDArray[Any]) -> Array:
        solved = solve(game)
        cells = [2 * i + j for i, j in solved.pure]
        mixed = np.nan if solved.mixed is None else float(solved.mixed[0])
        only = mixed if not cells and not solved.continuum else np.nan
        counts = joint[lines].sum(axis=1)
        none = np.full(len(lines), np.nan)
        several = len(cells) > 1
        n_pure = np.full(len(lines), float(len(cells)))
        columns = [n_pure, counts[:, cells].sum(axis=1) if several else none]
        for seat in (0, 1):
            value = [game.payoffs[i][j][seat] for i, j in solved.pure]
            best = [c for c, v in zip(cells, value, strict=True) if v == max(value)]
            columns.append(counts[:, best[0]] if several and len(best) == 1 else none)
        return np.stack([*columns, np.full(len(lines), only)], axis=1)

    found = by_game(rounds, counts_of, (5,))
    names = ("n_pure_equilibria", "n_equilibrium", "n_own_preferred", "n_other_preferred")
    return dict(zip((*names, "mixed_share"), found.T, strict=True))


def thirds(length: NDArray[Any], t: int) -> dict[str, NDArray[np.bool_]]:
    """Return which rounds are in a match, in its first and in its last third, each (n, t).

    A third is at least one round; with fewer than two rounds there are no thirds. The keys are
    the ends of column names.
    """
    place = np.arange(t)
    third = np.where(length >= 2, np.maximum(1, length // 3), 0)[:, None]
    played = place < length[:, None]
    return {
        "": played,
        "_first": played & (place < third),
        "_last": played & (place >= length[:, None] - third),
    }


def _nash(rounds: Rounds, joint: Array) -> dict[str, Array]:
    """Return distances to the set of equilibria, of actions and of recorded probabilities."""
    keys, length = rounds.keys, rounds.length
    together = (keys["move_order"] == "simultaneous").to_numpy()
    # Only where both choose at once do the probabilities give a joint distribution.
    p = np.where(together[:, None], rounds.own_p, np.nan)
    policy = distances.product(p, rounds.other_p)
    found: dict[str, Array] = {}
    for third, chosen in thirds(length, joint.shape[1]).items():
        size = chosen.sum(axis=1)
        mean = _share((joint * chosen[..., None]).sum(axis=1), size)
        mean_policy = _share(np.where(chosen[..., None], policy, 0.0).sum(axis=1), size)
        values, of_policy = _distances(rounds, mean), _distances(rounds, mean_policy)
        control = _expected(rounds, size, distances.finite_sample)
        chance = _expected(rounds, size, distances.random_play)
        for k, name in enumerate(("tv", "l2", "regret")):
            found[f"nash_{name}{third}"] = values[:, k]
            found[f"nash_{name}{third}_control"] = control[:, k]
            found[f"nash_{name}{third}_random"] = chance[:, k]
        for k, name in enumerate(("tv", "l2", "regret")):
            found[f"nash_{name}_policy{third}"] = of_policy[:, k]
        if not third:
            found["spe_tv"] = _subgame_perfect(rounds, mean, found["nash_tv"])
    # The norm of both seats' gaps is in a fixed ratio to their root mean square.
    roots = [name for name in found if name.startswith("nash_l2")]
    found |= {name.replace("l2", "norm"): distances.GAPS_NORM * found[name] for name in roots}
    played = ~np.isnan(rounds.own)
    for name, each in (("nash_tv_slope", joint), ("nash_tv_policy_slope", policy)):
        found[name] = _slope(_round_distances(rounds, each, played))
    return found


def _distances(rounds: Rounds, joint: Array) -> Array:
    """Return tv, l2 and regret of each line's joint distribution, (n, 3)."""

    def three_of(game: Game, lines: NDArray[Any]) -> Array:
        equilibria, each = distances.equilibria_of(game), joint[lines]
        known = ~np.isnan(each).any(axis=1)
        values = np.full((len(lines), 3), np.nan)
        values[known, 0] = distances.total_variation(each[known], equilibria)
        values[known, 1] = distances.euclidean(each[known], equilibria)
        values[known, 2] = distances.regret(each[known], game)
        return values

    return by_game(rounds, three_of, (3,))


def _expected(
    rounds: Rounds,
    size: NDArray[Any],
    distance: Callable[[Game, int], tuple[float, float, float]],
) -> Array:
    """Return what reference play over as many rounds would show, (n, 3)."""

    def three_of(game: Game, lines: NDArray[Any]) -> Array:
        none = (np.nan,) * 3
        return np.array([distance(game, int(k)) if k else none for k in size[lines]])

    return by_game(rounds, three_of, (3,))


def _subgame_perfect(rounds: Rounds, joint: Array, nash: Array) -> Array:
    """Return the distance to the subgame-perfect outcomes; NaN where they are not determined.

    Where the seats move in turn, they are those of the stage game. Where they move at once and the
    horizon is known, a unique equilibrium of the stage game is played in every round, by backward
    induction (Selten 1965), so that the distance is the one to the equilibrium.
    """
    turns = rounds.keys["turn"]
    repeated = ((rounds.keys["horizon"] == "known") & turns.isna()).to_numpy()

    def distance_of(game: Game, lines: NDArray[Any]) -> Array:
        unique = distances.equilibria_of(game).is_unique
        values = np.where(repeated[lines] & unique, nash[lines], np.nan)
        for turn in ("first", "second"):
            chosen = (turns.iloc[lines] == turn).to_numpy()
            outcome = distances.subgame_perfect(game, turn)
            if outcome is not None and chosen.any():
                values[chosen] = distances.segment_variation(joint[lines[chosen]], outcome)
        return values

    return by_game(rounds, distance_of, ())


def _round_distances(rounds: Rounds, joint: Array, played: NDArray[np.bool_]) -> Array:
    """Return the total variation of each single round, (n, t)."""
    t = joint.shape[1]

    def each_round(game: Game, lines: NDArray[Any]) -> Array:
        each = joint[lines].reshape(-1, 4)
        known = played[lines].ravel() & ~np.isnan(each).any(axis=1)
        values = np.full(len(each), np.nan)
        # Most rounds are alike, so each distinct one is computed once.
        unique, place = np.unique(each[known], axis=0, return_inverse=True)
        distance = distances.total_variation(unique, distances.equilibria_of(game))
        values[known] = distance[place.ravel()]
        return values.reshape(len(lines), t)

    return by_game(rounds, each_round, (t,))


def _slope(values: Array) -> Array:
    """Return the least-squares slope of each line on the round, NaN values left out, (n,)."""
    # Sum of (t - mean t) * value over sum of (t - mean t)^2.
    known = ~np.isnan(values)
    size = known.sum(axis=1)
    t = np.where(known, np.arange(values.shape[1]), 0.0)
    centre = np.where(known, t - _share(t.sum(axis=1), size)[:, None], 0.0)
    above, below = (centre * np.where(known, values, 0.0)).sum(axis=1), (centre**2).sum(axis=1)
    return _share(above, below)


def lock_length(length: NDArray[Any]) -> NDArray[Any]:
    """Return how many last rounds must be equal for a lock: half of them, and at least two."""
    return np.maximum(2, -(-length // 2))


def locks_of(rounds: Rounds) -> dict[str, Array]:
    """Return whether a match ends in one constant joint action, since when, and in which.

    A match is locked if its last constant run holds at least half of its rounds and at least two;
    `lock_onset` is the run's first round, `lock_own` and `lock_other` are the two actions in it.
    Missing with fewer than two rounds.
    """
    length = rounds.length
    cells = 2 * rounds.own + rounds.other
    place = np.arange(cells.shape[1])
    changed = np.zeros(cells.shape, dtype=bool)
    changed[:, 1:] = (cells[:, 1:] != cells[:, :-1]) & ~np.isnan(cells[:, 1:])
    onset = np.where(changed, place + 1, 1).max(axis=1)
    able = length >= 2
    locked = length - onset + 1 >= lock_length(length)
    by_chance = 4.0 ** (1 - lock_length(length))
    return {
        "locked": np.where(able, locked, np.nan),
        "lock_onset": np.where(able & locked, onset, np.nan),
        **{
            f"lock_{name}": np.where(able & locked, _last(moves, length), np.nan)
            for name, moves in (("own", rounds.own), ("other", rounds.other))
        },
        "full_lock": np.where(able, onset == 1, np.nan),
        "locked_control": np.where(able, by_chance, np.nan),
        "full_lock_control": np.where(able, 4.0 ** (1.0 - length), np.nan),
    }


def _last(moves: Array, length: NDArray[Any]) -> Array:
    """Return the action of each line's last whole round, (n,)."""
    found: Array = np.take_along_axis(moves, np.maximum(length - 1, 0)[:, None], axis=1)[:, 0]
    return found


def reciprocity(rounds: Rounds) -> dict[str, Array]:
    """Count rounds by the other's action in the round before, and own action 0 among them."""
    before, now = rounds.other[:, :-1], rounds.own[:, 1:]
    found: dict[str, Array] = {}
    for action in (0, 1):
        asked = (before == action) & ~np.isnan(now)
        found[f"n_after_other_{action}"] = asked.sum(axis=1)
        found[f"n_0_after_other_{action}"] = (asked & (now == 0)).sum(axis=1)
    return found


def _share(count: Array, size: Array) -> Array:
    """Return count / size, over any trailing axis of `count`; NaN where `size` is not above 0."""
    below = np.asarray(size, dtype=float)
    below = below.reshape(below.shape + (1,) * (np.ndim(count) - below.ndim))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(below > 0, count / below, np.nan)
