"""Strips of small marks under an estimate: the same claim judged on parts of the data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from nashlens.figures import style

LANES = {"template": "template", "label_set": "label set", "half": "seed halves"}
"""Factor -> its strip's name. Other bootstrap numbers move no estimate and get no strip."""
NAMES = {**LANES, "bootstrap": "seed of the bootstrap"}
COLUMNS = (
    *("claim", "model", "factor", "level", "estimate", "ci_low", "ci_high", "verdict"),
    *("whole_verdict", "agreement"),
)
LANE, SPREAD = 0.9, 0.52
"""Height in lines of one strip, and of what its marks are spread over."""

Mark = tuple[str, Any]
"""Marker and colour."""


def judged(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of parts of the data that could be judged; the bootstrap's are none."""
    return rows[(rows["agreement"] != "not_judged") & rows["factor"].isin(LANES)]


def label(rows: pd.DataFrame, factor: str) -> str:
    """Return a strip's name and how many levels agree: `label set: 2/3 agree`."""
    own = rows[rows["factor"] == factor]
    known = judged(own)
    if len(own) == 1 and own["level"].iloc[0]:
        return f"{LANES[factor]}: one only"
    if known.empty:
        return f"{LANES[factor]}: not judged"
    agree = int((known["agreement"] == "agrees").sum())
    return f"{LANES[factor]}: {agree}/{len(known)} agree"


def word(rows: pd.DataFrame, verdict: str, fragile: str) -> str:
    """Say in a word whether a finding holds on the parts.

    Parameters
    ----------
    rows : DataFrame
        Of the sensitivity table, for one claim and model.
    verdict : str
        Of the rule, on all data.
    fragile : str
        The findings table's column: the factors that the claim hangs on.
    """
    if rows.empty:
        return ""
    if fragile:
        return "FRAGILE: " + "; ".join(_why(rows, factor) for factor in fragile.split(", "))
    known = judged(rows)
    if known.empty:
        return "sensitivity: no part could be judged"
    n, agree = len(known), int((known["agreement"] == "agrees").sum())
    if verdict == "inconclusive":
        # That parts of undecided data are undecided makes nothing robust.
        both = "all" if agree == n else f"{agree} of"
        return f"parts: {both} {n} inconclusive too" + (f", {n - agree} decide" * (agree < n))
    if agree == n:
        return f"robust: all {n} parts agree"
    return f"no reversal: {agree} of {n} parts agree, {n - agree} inconclusive"


def _why(rows: pd.DataFrame, factor: str) -> str:
    rows = rows[rows["factor"] == factor]
    away = rows[rows["agreement"].isin(["differs", "reverses"])]
    pairs = zip(away["level"], away["agreement"], strict=True)
    said = [f"{style.words(level)} {what}" for level, what in pairs]
    return f"{NAMES.get(factor, style.words(factor))}: {', '.join(said) or 'levels oppose'}"


def draw_strips(
    axes: tuple[Axes, Axes],
    start: float,
    rows: pd.DataFrame,
    mark: Callable[[str], Mark],
    *,
    common: bool,
) -> None:
    """Draw the strips of one claim and model.

    Parameters
    ----------
    axes : (Axes, Axes)
        Of the strips' names, and of the estimates.
    start : float
        Upper edge, in lines.
    rows : DataFrame
        Of the sensitivity table, for one claim and model.
    mark : callable
        Verdict -> marker and colour.
    common : bool
        Whether the estimates stand on the common axis, where an arrow says that one lies beyond
        it. Otherwise marks stand side by side and show verdicts alone.
    """
    names, ax = axes
    for lane, factor in enumerate(LANES):
        known = judged(rows[rows["factor"] == factor])
        middle = start + (lane + 0.5) * LANE
        names.text(
            0.985, middle, label(rows, factor), ha="right", va="center", fontsize=style.SMALL,
            color=style.GREY if known.empty else "0.25",
        )  # fmt: skip
        steps = np.arange(len(known)) - (len(known) - 1) / 2
        for step, (_, row) in zip(steps, known.iterrows(), strict=True):
            marker, color = mark(str(row["verdict"]))
            options: dict[str, Any] = {"color": color, "mew": 0}
            if not common:
                x, transform = 0.5 + 0.05 * step, ax.get_yaxis_transform()
                ax.plot(x, middle, marker, transform=transform, markersize=4, **options)
                continue
            at = middle + SPREAD * step / max(len(known) - 1, 1)
            low, high = ax.get_xlim()
            ax.hlines(at, row["ci_low"], row["ci_high"], color=color, linewidth=0.7, alpha=0.6)
            x = float(np.clip(row["estimate"], low, high))
            if x != row["estimate"]:
                marker = "<" if row["estimate"] < x else ">"
            ax.plot(x, at, marker, markersize=3.2, clip_on=x == row["estimate"], **options)


def reach(rows: pd.DataFrame, shown: Mapping[tuple[str, str], bool]) -> float:
    """Return the smallest value of the strips that stand on the common axis; 0 without any."""
    known = judged(rows)
    keys = zip(known["claim"], known["model"], strict=True)
    known = known[[shown.get(key, False) for key in keys]]
    return float(known["ci_low"].min()) if len(known) else 0.0
