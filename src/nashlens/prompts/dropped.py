"""How many pairs of prompts could not be used, and why: for the log and for the page."""

from __future__ import annotations

import logging
from collections import Counter

import pandas as pd

from nashlens.kept import kept

log = logging.getLogger(__name__)

COLUMNS = ("kind", "dropped")
"""Columns of the pairs table that are counted."""


def dropped_pairs(pairs: pd.DataFrame) -> dict[str, str]:
    """Say for each kind of pairs how many were dropped, and for which reasons.

    Parameters
    ----------
    pairs : DataFrame
        The pairs table of one model, at least its `COLUMNS`.

    Returns
    -------
    dict of str to str
        Kind -> `3 of 48 dropped: not aligned (2), no Nash action that flips (1)`. Of reasons that
        differ only in their details, behind a colon, one is counted.

    Examples
    --------
    >>> table = pd.DataFrame({"kind": "history", "dropped": ["", "not aligned: 8 and 9 tokens"]})
    >>> dropped_pairs(table)
    {'history': '1 of 2 dropped: not aligned (1)'}
    """
    found = {}
    for kind, rows in pairs.groupby("kind", sort=False):
        gone = rows["dropped"].drop(kept(rows).index)
        why = Counter(str(reason).partition(":")[0] for reason in gone)
        reasons = ", ".join(f"{reason} ({count})" for reason, count in why.most_common())
        found[str(kind)] = f"{len(gone)} of {len(rows)} dropped" + f": {reasons}" * bool(reasons)
    return found


def log_dropped(pairs: pd.DataFrame) -> None:
    """Write a line for each kind of pairs into the log."""
    for kind, said in dropped_pairs(pairs).items():
        log.info("pairs of kind %s: %s", kind, said)
