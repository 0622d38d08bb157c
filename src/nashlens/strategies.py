"""Scripted strategies for repeated 2x2 games, as functions of the two histories.

Action 0 is called cooperating and action 1 defecting, whatever they mean in the game. Every
strategy returns its probability of action 0; all but RANDOM and TFT_ERRORS are deterministic.

A new strategy is one function of the two histories and of the strategy's own number `p`, with its
entry in `STRATEGIES` (and in `PARAMETERS`, where it uses `p`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from nashlens.errors import DataError

Strategy = Callable[[Sequence[int], Sequence[int], float], float]


def all_cooperate(own: Sequence[int], other: Sequence[int], p: float) -> float:
    """ALLC: cooperate always."""
    return 1.0


def all_defect(own: Sequence[int], other: Sequence[int], p: float) -> float:
    """ALLD: defect always."""
    return 0.0


def tit_for_tat(own: Sequence[int], other: Sequence[int], p: float) -> float:
    """TFT: cooperate first, then do what the other did last."""
    return 1.0 if not other or other[-1] == 0 else 0.0


def grim_trigger(own: Sequence[int], other: Sequence[int], p: float) -> float:
    """GRIM: cooperate until the other defects once, then defect for good."""
    return 0.0 if 1 in other else 1.0


def win_stay_lose_shift(own: Sequence[int], other: Sequence[int], p: float) -> float:
    """WSLS: cooperate first; then keep the action if the other cooperated, else change it.

    Whether it won follows from the other's action, not from payoffs, so the strategy is the same in
    every game (Nowak and Sigmund 1993).
    """
    if not own:
        return 1.0
    action = own[-1] if other[-1] == 0 else 1 - own[-1]
    return 1.0 - action


def random_choice(own: Sequence[int], other: Sequence[int], p: float) -> float:
    """RANDOM: cooperate with probability p."""
    return float(p)


def tit_for_tat_with_errors(own: Sequence[int], other: Sequence[int], p: float) -> float:
    """TFT_ERRORS: as TFT, but with probability p it does the opposite of what TFT would do."""
    return 1.0 - p if tit_for_tat(own, other, p) == 1.0 else float(p)


STRATEGIES: dict[str, Strategy] = {
    "ALLC": all_cooperate,
    "ALLD": all_defect,
    "TFT": tit_for_tat,
    "GRIM": grim_trigger,
    "WSLS": win_stay_lose_shift,
    "RANDOM": random_choice,
    "TFT_ERRORS": tit_for_tat_with_errors,
}
PARAMETERS: dict[str, float] = {"RANDOM": 0.5, "TFT_ERRORS": 0.1}
"""Strategies that use their number `p`, with its default."""


def cooperation(
    strategy: str,
    own_history: Sequence[int],
    other_history: Sequence[int],
    p: float | None = None,
) -> float:
    """Return a strategy's probability of action 0 in the next round.

    Parameters
    ----------
    strategy : str
        A key of `STRATEGIES`.
    own_history, other_history : sequence of int
        The actions of the strategy and of its opponent, one for each round played.
    p : float, optional
        The number of a strategy in `PARAMETERS`: RANDOM's probability of action 0, or that of an
        error of TFT_ERRORS.

    Raises
    ------
    DataError
        If there is no such strategy, or the histories differ in length.
    """
    if strategy not in STRATEGIES:
        raise DataError(f"strategy {strategy!r}: must be one of {list(STRATEGIES)}")
    if len(own_history) != len(other_history):
        raise DataError(
            f"strategy {strategy}: histories of {len(own_history)} and {len(other_history)} "
            "rounds: both players have moved equally often"
        )
    number = PARAMETERS.get(strategy, 0.0) if p is None else p
    return STRATEGIES[strategy](own_history, other_history, number)


def sample_action(probability_0: float, rng: np.random.Generator) -> int:
    """Draw an action; exactly one number is drawn whatever the probability."""
    return int(rng.random() >= probability_0)
