"""Small marks under an estimate: the same claim judged on parts of the data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

FACTORS = {"template": "template", "label_set": "label set", "half": "halves"}
"""Factor -> its name. Other bootstrap numbers move no estimate and get no mark."""
NAMES = {**FACTORS, "bootstrap": "seed of the bootstrap"}
COLUMNS = (
    *("claim", "model", "factor", "level", "estimate", "ci_low", "ci_high", "verdict"),
    "agreement",
)

Mark = tuple[str, Any]
"""Marker and colour."""


def judged(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of parts of the data that could be judged; the bootstrap's are none."""
    return rows[(rows["agreement"] != "not_judged") & rows["factor"].isin(FACTORS)]


def summary(rows: pd.DataFrame, fragile: str, *, brief: bool = False) -> str:
    """Say in a few words whether a finding holds on the parts; the report has the rest.

    Parameters
    ----------
    rows : DataFrame
        Of the sensitivity table, for one claim and model.
    fragile : str
        The findings table's column: the factors that the claim hangs on.
    brief : bool
        Whether only one factor is named; of several their number is.
    """
    names = [NAMES.get(name, name) for name in fragile.split(", ") if name]
    if names:
        few = len(names) == 1 or not brief
        return f"FRAGILE: {', '.join(names) if few else f'{len(names)} factors'}"
    known = judged(rows)
    agree = int((known["agreement"] == "agrees").sum())
    return f"{agree}/{len(known)} parts agree" if len(known) else ""


def draw_strips(
    ax: Axes, start: float, height: float, rows: pd.DataFrame, mark: Callable[[str], Mark]
) -> None:
    """Draw the parts of one claim and model; an arrow says that one lies beyond the axis.

    Parameters
    ----------
    ax : Axes
    start, height : float
        Upper edge and height of their band, in lines.
    rows : DataFrame
        Of the sensitivity table, for one claim and model.
    mark : callable
        Verdict -> marker and colour.
    """
    known = judged(rows)
    places = start + height * (np.arange(len(known)) + 0.5) / len(known)
    low, high = ax.get_xlim()
    for at, (_, row) in zip(places, known.iterrows(), strict=True):
        marker, color = mark(str(row["verdict"]))
        ax.hlines(at, row["ci_low"], row["ci_high"], color=color, linewidth=0.5, alpha=0.6)
        x = float(np.clip(row["estimate"], low, high))
        if x != row["estimate"]:
            marker = "<" if row["estimate"] < x else ">"
        ax.plot(x, at, marker, markersize=2.6, clip_on=x == row["estimate"], color=color, mew=0)


def reach(rows: pd.DataFrame, shown: Mapping[tuple[str, str], bool]) -> float:
    """Return the smallest value of the parts that stand on the common axis; 0 without any."""
    known = judged(rows)
    keys = zip(known["claim"], known["model"], strict=True)
    known = known[[shown.get(key, False) for key in keys]]
    return float(known["ci_low"].min()) if len(known) else 0.0
