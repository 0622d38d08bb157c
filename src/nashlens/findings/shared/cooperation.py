"""Cooperation in the Prisoner's Dilemma, which B1, X1 and X2 are about.

A dilemma is any game in which each seat's dominant action is not the prosocial one. All matches are
direct and simultaneous.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
import pandas as pd

from nashlens.findings.claim import ALL_MODELS, JudgeSettings, Missing
from nashlens.findings.shared.arms import ComparableArms, comparable_arms, game_keys, rows_of_games
from nashlens.findings.shared.field import PlayField
from nashlens.findings.shared.play import E
from nashlens.findings.shared.sizes import SizedModel

UNIVERSAL = 0.95
"""Share of matches from which on a lock counts as universal: sampling breaks single ones."""
MAJORITY = 0.5
"""Share above which something holds in most matches or decisions."""
LEAST_COOPERATION = 0.1
"""Difference of cooperation rates that counts."""
NO_DILEMMA = "no game is a Prisoner's Dilemma in mode direct"


def comparable_dilemmas(
    play: PlayField, arms: Mapping[str, pd.DataFrame]
) -> ComparableArms | Missing:
    """Return the matches of dilemmas among each arm's that may be compared."""
    return comparable_arms(
        {name: rows_of_games(rows, play.dilemmas) for name, rows in arms.items()}
    )


def full_cooperation_note(cooperation: float) -> str:
    """Say what full cooperation implies, as both it and distance 0 have been reported of models."""
    return " (full cooperation lies at distance 1, not at 0)" if cooperation > UNIVERSAL else ""


def seats_prosocial_actions(play: PlayField, rows: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Return the prosocial actions of each match's own seat and of the other one."""
    by_seat = np.array([play.dilemmas[key] for key in game_keys(rows)]).reshape(len(rows), 2)
    is_row = (rows["seat"] == "row").to_numpy()
    own = np.where(is_row, by_seat[:, 0], by_seat[:, 1])
    other = np.where(is_row, by_seat[:, 1], by_seat[:, 0])
    return pd.Series(own, index=rows.index), pd.Series(other, index=rows.index)


def with_locks(play: PlayField, rows: pd.DataFrame) -> pd.DataFrame:
    """Add whether a match locked on both seats' prosocial actions, and the chance of it.

    Of uniformly random joint actions each of the four is as likely.
    """
    own, other = seats_prosocial_actions(play, rows)
    on = (rows["lock_own"].to_numpy(float, na_value=np.nan) == own) & (
        rows["lock_other"].to_numpy(float, na_value=np.nan) == other
    )
    locked = rows["locked"].to_numpy(float, na_value=np.nan)
    return rows.assign(
        locked_cooperation=np.where(np.isnan(locked), np.nan, on & (locked == 1)),
        chance=rows["locked_control"] / 4,
    )


def of_each_meeting(
    play: PlayField,
    settings: JudgeSettings,
    pairs: Iterable[tuple[SizedModel, SizedModel]],
    no_pair: str,
    estimate_pair: Callable[[PlayField, JudgeSettings, SizedModel, SizedModel], E | Missing],
) -> Iterator[tuple[str, E | Missing]]:
    """Yield the evidence of each pair of models that meet.

    Parameters
    ----------
    play : PlayField
    settings : JudgeSettings
    pairs : iterable of (SizedModel, SizedModel)
        Those that the claim is about; the ones that have not met are left out.
    no_pair : str
        What is lacking where none of them has met.
    estimate_pair : callable
        (play, settings, one, two) -> evidence, or why there is none.
    """
    met = [(one, two) for one, two in pairs if len(play.cross_play(two.name, one.name))]
    if not play.dilemmas:
        yield ALL_MODELS, Missing(NO_DILEMMA)
    elif not met:
        listed = ", ".join(model.size for model in play.models)
        yield ALL_MODELS, Missing(f"{no_pair} in mode direct; there are {listed}")
    else:
        for one, two in met:
            subject = f"{one.name}--{two.name}"
            yield subject, estimate_pair(play, settings.about(subject), one, two)
