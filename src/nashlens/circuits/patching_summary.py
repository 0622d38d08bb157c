"""Patches as estimates: how much of the difference between two answers each one carries."""

from __future__ import annotations

import numpy as np
import pandas as pd

from nashlens.circuits.patches import MAIN_PART, Patches
from nashlens.estimates import Array, Bootstrap, collect, frame
from nashlens.factorial import PARTS, BlockEstimate

_KEYS = {
    "model": "str", "kind": "str", "quantity": "str", "patch": "str", "site": "str",
    "layer": "Int64", "head": "Int64", "group": "str",
}  # fmt: skip
_SHARES = ("share", "share_low", "share_high")
TOTAL = "total"
"""Name, as `patch` and `site`, of the whole difference between the two answers."""


def patching_estimates(patching: pd.DataFrame, *, model: str, how: Bootstrap) -> pd.DataFrame:
    """Return what each patch does to the answer.

    Parameters
    ----------
    patching : DataFrame
        Of `patching_table`, one model.
    model : str
    how : Bootstrap

    Returns
    -------
    DataFrame
        `model`, `kind`, `quantity` (`action_part`, `word_part`, `place_part`, `interaction`, in
        logits), `patch`, `site`, `layer`, `head`, `group`, `estimates.COLUMNS`; and how large it is
        in proportion to the difference between the two answers: `share`, `share_low`, `share_high`
        (of the action part of that difference; for pairs of orders of its place part), missing
        where that difference is not beyond chance. The patch `total` is the difference itself.
        Bounds hold for all patches of a kind and quantity at once.
    """
    tables = []
    for kind in dict.fromkeys(patching["kind"]):
        patches = Patches(patching, kind)
        if not len(patches):
            continue
        whole = patches.parts[MAIN_PART[kind]][:, :1]
        for part in PARTS:
            name = part if part == "interaction" else f"{part}_part"
            table = _bounded(patches, patches.parts[part], whole, how)
            tables.append(table.assign(model=model, kind=kind, quantity=name))
    return collect(tables, _KEYS, dict.fromkeys(_SHARES, "float64"))


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
    places = patches.places.reset_index()
    total = pd.DataFrame([{"patch": TOTAL, "site": TOTAL, "group": ""}])
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
