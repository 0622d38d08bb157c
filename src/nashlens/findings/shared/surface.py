"""Whether a surface form, and not the game, decides what a model does.

An action cannot be distinguished from its label, or its place, unless both were swapped. The effect
of a form in a game is the size of the difference of P(action 0) between its two levels, averaged
over label sets (a liking for J and one for Y do not cancel):

    effect = mean_s |e_s|,    e_s = sum_k w_k d_k / sum_k w_k,    w_k = n_0 n_1 / (n_0 + n_1)

over strata k of one label set s: one payoff variant, opponent and seat (where no stratum saw both
levels, the game as a whole). Averages over games would hide a liking that decides one game only, or
opposite ones in two games, so the largest effect counts. Noise in small cells can be as large. So
an effect counts only if the F ratio of the e_s^2 to their error, from the spread of matches within
strata, is too large for noise, corrected for the number of games and forms looked at.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import f as fisher

from nashlens.contrasts import Array

LABEL_LIMIT = 0.4
"""Change of P(action 0) with a surface form from which on the surface, not the game, decides.

A seat that takes a label with probability 0.7, whatever it stands for, reaches it. That changes its
Nash distance in the Prisoner's Dilemma from 0.75 to 0.71, which no claim counts as a change.
"""
SURFACES = {"label_map": ("identity", "swapped"), "option_order": ("forward", "reversed")}
MEASURES = ("recorded", "acted")
"""P(action 0) as recorded, before temperature, and as acted on: at temperature 0 a recorded 0.6 is
acted on always."""
_GROUP = ["pairing", "game", "label_set"]
_STRATUM = ["variant", "opponent", "seat"]
_LEAST_FREEDOM = 4
"""Degrees of freedom below which strata are pooled to estimate the spread of matches."""


class SwapEffect(NamedTuple):
    """What swapping a surface form changes."""

    size: float
    p_value: float
    """Probability of an effect as large where there is none."""
    factor: str
    where: str
    """The game, or empty for all of them."""


def surface_problem(rows: pd.DataFrame, who: str, confidence: float) -> str:
    """Say which surface form decides what a model does; empty where none does.

    Parameters
    ----------
    rows : DataFrame
        The model's matches in one mode, of the games of a claim.
    who : str
        Names the player in the sentence.
    confidence : float
        One less the chance that noise is called a liking.
    """
    seen = _observed(rows)
    group = seen.groupby(_GROUP).ngroup().to_numpy()
    stratum = seen.groupby([*_GROUP, *_STRATUM]).ngroup().to_numpy()
    groups = seen.loc[np.unique(group, return_index=True)[1], _GROUP]
    effects = []
    for factor in SURFACES:
        for measure in MEASURES:
            strata, whole = _strata(seen, factor, measure, group, stratum)
            known = set(groups["game"].iloc[strata.group])
            if unknown := sorted(set(groups["game"]) - known):
                return (
                    f"{who} saw one {factor} alone in {unknown[0]}: what it does there cannot be"
                    " told from a liking for a label or a place"
                )
            effects += _effects(groups, strata, whole, factor)
    limit = (1 - confidence) / max(1, len(effects) // len(MEASURES))
    found = [e for e in effects if e.size >= LABEL_LIMIT and e.p_value <= limit]
    if not found:
        return ""
    most = max(found)
    where = f" in {most.where}" if most.where else ""
    return (
        f"the {most.factor} alone moves {who} by {most.size:.2f} in P(action 0){where}: surface"
        " forms, not games, decide its play"
    )


def _observed(rows: pd.DataFrame) -> pd.DataFrame:
    """Return one line a match, with P(action 0) as recorded and as acted on.

    A player that answers a partner who goes by labels seems to go by labels itself. So matches with
    other models count only in games that the player did not play with itself or with a script.
    """
    rows = rows[rows["n_rounds"] > 0]
    own = rows["pairing"] != "cross_play"
    rows = rows[own | ~own.groupby(rows["game"]).transform("any")]
    acted = (rows["n_00"] + rows["n_01"]) / rows["n_rounds"].astype(float)
    # Where the model's text decides, no probability may be recorded: then its actions count.
    recorded = rows["sum_p_action_0"] / rows["n_p_action_0"].replace(0, np.nan)
    # Both seats of a match with itself are one observation.
    seat = rows["seat"].where(rows["pairing"] != "self_play", "both")
    seen = rows.assign(acted=acted, recorded=recorded.fillna(acted), seat=seat)
    keys = [*_GROUP, *_STRATUM, *SURFACES, "match_id"]
    return seen.groupby(keys, as_index=False)[list(MEASURES)].mean()


class LevelContrasts(NamedTuple):
    """Level 0 less level 1 in each of the n strata that saw both; all arrays are (n,)."""

    group: NDArray[np.intp]
    """Index of the stratum's pairing, game and label set."""
    change: Array
    weight: Array
    squares: Array
    """Squared deviations of matches from their level's mean, summed."""
    freedom: Array
    """Degrees of freedom of the squares."""

    def select(self, chosen: NDArray[np.bool_]) -> LevelContrasts:
        """Return some of the strata."""
        return LevelContrasts._make(values[chosen] for values in self)


def _strata(
    seen: pd.DataFrame, factor: str, measure: str, group: NDArray[Any], stratum: NDArray[Any]
) -> tuple[LevelContrasts, LevelContrasts]:
    """Return contrasts in strata, and in groups as a whole.

    A group none of whose strata saw both levels is one stratum.
    """
    level = np.select([seen[factor] == name for name in SURFACES[factor]], [0, 1], -1)
    values = seen[measure].to_numpy(float)
    whole = _contrasts(values, level, group, group)
    fine = _contrasts(values, level, stratum, group)
    coarse = whole.select(~np.isin(whole.group, fine.group))
    joined = (np.concatenate(both) for both in zip(fine, coarse, strict=True))
    return LevelContrasts._make(joined), whole


def _contrasts(
    values: Array, level: NDArray[Any], stratum: NDArray[Any], group: NDArray[Any]
) -> LevelContrasts:
    """Contrast the levels in each stratum that saw both."""
    k = int(stratum.max(initial=-1)) + 1
    owner = np.zeros(k, dtype=np.intp)
    owner[stratum] = group
    # By level and stratum: matches, mean of their values; by stratum: squares about these means.
    sizes, means, squares = np.zeros((2, k)), np.zeros((2, k)), np.zeros(k)
    for side in (0, 1):
        here = level == side
        codes, found = stratum[here], values[here]
        sizes[side] = np.bincount(codes, minlength=k)
        sums = np.bincount(codes, weights=found, minlength=k)
        means[side] = sums / np.maximum(sizes[side], 1)
        squares += np.bincount(codes, weights=(found - means[side][codes]) ** 2, minlength=k)
    both = sizes.min(axis=0) > 0
    total = np.maximum(sizes.sum(axis=0), 1)
    weight = sizes.prod(axis=0) / total
    return LevelContrasts(owner, means[0] - means[1], weight, squares, total - 2).select(both)


def _effects(
    groups: pd.DataFrame, strata: LevelContrasts, whole: LevelContrasts, factor: str
) -> list[SwapEffect]:
    """Return the effect in each game, and over games, with itself and with others."""
    game, pairing = groups["game"].to_numpy(), groups["pairing"].to_numpy()
    label_set = groups["label_set"].to_numpy()[strata.group]
    found = []
    for kind in np.unique(pairing):
        games = list(np.unique(game[pairing == kind]))
        for where in [*games, ""] if len(games) > 1 else games:
            chosen = (pairing == kind) & ((game == where) | (where == ""))
            lines = chosen[strata.group]
            if lines.any():
                coarse = whole.select(chosen[whole.group])
                found.append(_effect(strata.select(lines), coarse, label_set[lines], factor, where))
    return found


def _effect(
    strata: LevelContrasts, whole: LevelContrasts, label_set: NDArray[Any], factor: str, where: str
) -> SwapEffect:
    # By label set: its strata's changes, each weighted by how exact it is.
    sets = [strata.select(label_set == name) for name in np.unique(label_set)]
    weight = np.array([one.weight.sum() for one in sets])
    change = np.array([one.weight @ one.change for one in sets]) / weight
    spread = strata if strata.freedom.sum() >= _LEAST_FREEDOM else whole
    squares, freedom = float(spread.squares.sum()), float(spread.freedom.sum())
    return SwapEffect(
        size=float(np.abs(change).mean()),
        p_value=_by_noise(float((change**2 * weight).mean()), len(sets), squares, freedom),
        factor=factor,
        where=where,
    )


def _by_noise(squared: float, n: int, squares: float, freedom: float) -> float:
    """Return P of as large a ratio to the noise; 0 where nothing says how large that is."""
    if freedom == 0 or squares <= 1e-12:
        return float(squared <= 1e-12)
    return float(fisher.sf(squared / (squares / freedom), n, freedom))
