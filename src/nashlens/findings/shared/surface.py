"""Whether a surface form, and not the game, decides what a model does.

An action cannot be distinguished from its label, or its place, unless both were swapped: so whole
blocks of matches are looked at, which have every label map and option order. The word part of a
block (`nashlens.factorial`) is half of what swapping the labels changes in P(action 0), its place
part half of what swapping the places does. The effect of a form in a game is the size of that
change, averaged over label sets (a liking for J and one for Y do not cancel):

    effect = mean_s |e_s|,    e_s = the mean change of the blocks of label set s

Averages over games would hide a liking that decides one game only, or opposite ones in two games,
so the largest effect counts. Noise in few blocks can be as large. So an effect counts only if the F
ratio of the e_s^2 to their error, from the spread of blocks of one payoff variant, opponent and
seat, is too large for noise, corrected for the number of games and forms looked at.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import fdtrc

from nashlens.contrasts import Array
from nashlens.factorial import ScenarioBlocks

LABEL_LIMIT = 0.4
"""Change of P(action 0) with a surface form from which on the surface, not the game, decides.

A seat that takes a label with probability 0.7, whatever it stands for, reaches it. That changes its
Nash distance in the Prisoner's Dilemma from 0.75 to 0.71, which no claim counts as a change.
"""
PARTS_OF = {"label_map": "word", "option_order": "place"}
"""The part of a block that each surface form gives."""
MEASURES = ("recorded", "acted")
"""P(action 0) as recorded, before temperature, and as acted on: at temperature 0 a recorded 0.6 is
acted on always."""
_GROUP = ["game", "label_set"]
_STRATUM = [*_GROUP, "template", "variant", "opponent", "seat"]
_KEYS = ["pairing", *_STRATUM, "scenario_id", "block_id", *PARTS_OF, "match_id"]
_LEAST_FREEDOM = 4
"""Degrees of freedom below which strata are pooled to estimate the spread of blocks."""
_UNKNOWN = "what it does there cannot be told from a liking for a label or a place"


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
    blocks = ScenarioBlocks(seen, cluster="scenario_id")
    known = set(blocks.frame["game"])
    for game in sorted(set(seen["game"]) - known):
        return f"{who} {_unswapped(seen[seen['game'] == game])} in {game}: {_UNKNOWN}"
    effects = []
    for measure in MEASURES:
        # Recorded and acted values are P(action 0), and parts point to action 1.
        parts = blocks.parts(-seen[measure].to_numpy(float), np.ones(len(seen)))
        for factor, part in PARTS_OF.items():
            effects += _effects(blocks.frame, 2.0 * parts[part][:, 0], factor)
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
    return seen.groupby(_KEYS, as_index=False)[list(MEASURES)].mean()


def _unswapped(seen: pd.DataFrame) -> str:
    for factor in PARTS_OF:
        if seen[factor].nunique() == 1:
            return f"saw one {factor} alone"
    return "saw no label map and option order of one block together"


def _effects(blocks: pd.DataFrame, change: Array, factor: str) -> list[SwapEffect]:
    """Return the effect in each game, and over games, with itself and with others."""
    found = []
    for kind in blocks["pairing"].unique():
        games = sorted(blocks.loc[blocks["pairing"] == kind, "game"].unique())
        for where in [*games, ""] if len(games) > 1 else games:
            here = (blocks["pairing"] == kind) & ((blocks["game"] == where) | (where == ""))
            chosen = here.to_numpy()
            found.append(_effect(blocks[chosen], change[chosen], factor, where))
    return found


def _effect(blocks: pd.DataFrame, change: Array, factor: str, where: str) -> SwapEffect:
    by_set = pd.Series(change).groupby(blocks["label_set"].to_numpy())
    means, sizes = by_set.mean().to_numpy(), by_set.size().to_numpy()
    squares, freedom = _spread(blocks[_STRATUM], change)
    if freedom < _LEAST_FREEDOM:
        squares, freedom = _spread(blocks[_GROUP], change)
    return SwapEffect(
        size=float(np.abs(means).mean()),
        p_value=_by_noise(float((means**2 * sizes).mean()), len(means), squares, freedom),
        factor=factor,
        where=where,
    )


def _spread(strata: pd.DataFrame, change: Array) -> tuple[float, int]:
    """Return the squared deviations from the strata's means, summed, and their freedom."""
    code = strata.groupby(list(strata.columns)).ngroup().to_numpy()
    means = np.bincount(code, weights=change) / np.bincount(code)
    return float(((change - means[code]) ** 2).sum()), len(change) - len(means)


def _by_noise(squared: float, n: int, squares: float, freedom: float) -> float:
    """Return P of as large a ratio to the noise; 0 where nothing says how large that is."""
    if freedom == 0 or squares <= 1e-12:
        return float(squared <= 1e-12)
    return float(fdtrc(n, freedom, squared / (squares / freedom)))
