"""Patches as estimates: how much of the difference between two answers each one carries."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from nashlens.circuits.patches import MAIN_PART, Patches
from nashlens.circuits.screen import LARGEST, RANDOM
from nashlens.contrasts import Array
from nashlens.estimates import Bootstrap, collect, frame
from nashlens.factorial import PARTS, BlockEstimate
from nashlens.vocabulary.patching import EXACT

log = logging.getLogger(__name__)

_KEYS = {
    "model": "str", "kind": "str", "direction": "str", "quantity": "str", "patch": "str",
    "site": "str", "layer": "Int64", "head": "Int64", "group": "str", "method": "str",
}  # fmt: skip
_SHARES = ("share", "share_low", "share_high")
TOTAL = "total"
"""Name, as `patch` and `site`, of the whole difference between the two answers."""
RANKING = "rank_correlation"
"""Quantity: of sizes of screened and of exact effects."""
_RANKED = {LARGEST: "chosen by the screen", RANDOM: "random others"}
_FEWEST = 3  # patches that a ranking is about


def patching_estimates(patching: pd.DataFrame, *, model: str, how: Bootstrap) -> pd.DataFrame:
    """Return what each patch does to the answer, and how well a screen ranked them.

    Parameters
    ----------
    patching : DataFrame
        Of `patching_table`, one model.
    model : str
    how : Bootstrap

    Returns
    -------
    DataFrame
        `model`, `kind`, `direction`, `quantity` (`action_part`, `word_part`, `place_part`,
        `interaction`, in logits), `patch`, `site`, `layer`, `head`, `group`, `method` (`exact`, or
        `gradient` where a patch was only screened), `estimates.COLUMNS`; and how large it is in
        proportion to the difference between the two answers: `share`, `share_low`, `share_high` (of
        the action part of that difference; for pairs of orders of its place part), missing where
        that difference is not beyond chance. The patch `total` is the difference itself. Bounds
        hold for all patches of a kind, direction and quantity at once, screened ones included.

        With a screen, the quantity `rank_correlation` has two rows more: of the patches that it
        chose (`screen`, as `patch` and `site`), and of the `random` others. It is Spearman's, of
        the sizes of screened and exact effects within a block, averaged over blocks;
        `patches` is the number of patches.
    """
    tables = []
    arms = patching[["kind", "direction"]].drop_duplicates().itertuples(index=False)
    for kind, direction in arms:
        patches = Patches(patching, kind, direction)
        if not len(patches):
            continue
        whole = patches.parts[MAIN_PART[kind]][:, :1]
        found = []
        for part in PARTS:
            name = part if part == "interaction" else f"{part}_part"
            table = _bounded(patches, patches.parts[part], whole, how)
            found.append(table.assign(quantity=name))
        found.append(_ranking(patches, how.confidence))
        arm = pd.concat(found, ignore_index=True)
        tables.append(arm.assign(model=model, kind=kind, direction=direction))
    return collect(tables, _KEYS, dict.fromkeys(_SHARES, "float64") | {"patches": "Int64"})


def _ranking(patches: Patches, confidence: float) -> pd.DataFrame:
    """Return how well the screen ranked the patches that it chose, and the random ones."""
    part = MAIN_PART[patches.kind]
    exact, screened = np.abs(patches.parts[part][:, 1:]), np.abs(patches.screened()[part])
    moving = (exact > 0).any(axis=0) | (screened > 0).any(axis=0)
    tables = []
    for reason, words in _RANKED.items():
        which = np.flatnonzero((patches.places["chosen"] == reason).to_numpy() & moving)
        if len(which) < _FEWEST:
            continue
        found = patches.blocks.estimate(_spearman(exact[:, which], screened[:, which])[:, None])
        low, high = (np.clip(bound, -1.0, 1.0) for bound in found.interval(confidence))
        table = frame(found.estimate, low, high, "student", found.n, found.n_clusters)
        table.loc[table["ci_low"].isna(), "interval"] = ""
        tables.append(
            table.assign(
                quantity=RANKING, patch=reason, site=reason, group="", method="",
                patches=len(which),
            )
        )  # fmt: skip
        log.info(
            "%s, %s: sizes by gradient and exact sizes of %d patches (%s) have a rank correlation"
            " of %.2f [%.2f, %.2f] (%d pairs, %d histories); the largest exact one is %.3f logits",
            *(patches.kind, patches.direction, len(which), words),
            *(found.estimate[0], low[0], high[0], found.n, found.n_clusters),
            np.abs(patches.blocks.estimate(patches.parts[part][:, 1:]).estimate[which]).max(),
        )
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def _spearman(a: Array, b: Array) -> Array:
    """Return the rank correlation of each row of two `(blocks, k)` matrices."""
    a, b = (rankdata(one, axis=1) for one in (a, b))
    a, b = (one - one.mean(axis=1, keepdims=True) for one in (a, b))
    with np.errstate(invalid="ignore"):
        found = (a * b).sum(axis=1) / np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return np.asarray(found, dtype=np.float64)


def _bounded(patches: Patches, values: Array, whole: Array, how: Bootstrap) -> pd.DataFrame:
    """Return the average of each patch over blocks, with Student's interval and its share."""
    blocks = patches.blocks
    found = blocks.estimate(values)
    low, high, _ = blocks.estimate(values[:, 1:]).simultaneous(
        how.confidence, how.resamples, how.rng("patching summary")
    )
    # The whole difference is no patch: its bounds are its own.
    own = blocks.estimate(values[:, :1]).interval(how.confidence)
    bounds = "student, all at once"
    low, high = np.append(own[0], low), np.append(own[1], high)
    table = frame(found.estimate, low, high, bounds, found.n, found.n_clusters)
    table.loc[0, "interval"] = "student"
    table.loc[table["ci_low"].isna(), "interval"] = ""
    both = blocks.estimate(np.hstack([whole, values]))
    shares = share_bounds(both, how.confidence, how.resamples, how.rng("patching shares"))
    columns = dict(zip(_SHARES, shares, strict=True))
    places = patches.places.drop(columns="chosen").reset_index()
    total = pd.DataFrame([{"patch": TOTAL, "site": TOTAL, "group": "", "method": EXACT}])
    places = pd.concat([total, places], ignore_index=True)
    return table.assign(**{str(name): places[name] for name in places}, **columns)


def share_bounds(
    found: BlockEstimate, confidence: float, resamples: int, rng: np.random.Generator
) -> tuple[Array, Array, Array]:
    """Return shares of the first column that the others are, with their bounds.

    Parameters
    ----------
    found : BlockEstimate
        Of `(1 + k)` columns.
    confidence : float
    resamples : int
    rng : numpy.random.Generator

    Returns
    -------
    share, low, high : ndarray, shape (k,)
        NaN where the first column's interval has 0 in it.
    """
    low, high = found.interval(confidence)
    if not (low[0] > 0 or high[0] < 0):
        nothing = np.full(len(found.estimate) - 1, np.nan)
        return nothing, nothing, nothing
    draws = found.draws(resamples, rng)
    tail = 100.0 * (1.0 - confidence) / 2.0
    bounds = np.percentile(draws[:, 1:] / draws[:, :1], [tail, 100.0 - tail], axis=0)
    return found.estimate[1:] / found.estimate[0], bounds[0], bounds[1]
