"""Numbers in words: what headings and headlines of figures say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd


def sizes(n: Any, noun: str, matches: Any) -> str:
    """Return `n = 16 prompts, 8 matches`, to be broken after its comma alone."""
    parts = [(n, f" {noun}" if noun else ""), (matches, " matches")]
    one, two = ["?" + text if pd.isna(k) else f"{int(k)}{text}" for k, text in parts]
    return f"n = {one}".replace(" ", "\u00a0") + ", " + two.replace(" ", "\u00a0")


def largest_sizes(rows: pd.DataFrame, noun: str) -> str:
    """Return the largest sizes of some rows; 0 without a row."""
    n, matches = (rows["n"].max(), rows["n_matches"].max()) if len(rows) else (0, 0)
    return sizes(n, noun, matches)


def total(rows: pd.DataFrame, noun: str, unit: str = "", none: str = "no data") -> str:
    """Return the first row's estimate as what all comes to, and below it its sizes."""
    if rows.empty:
        return none
    row = rows.iloc[0]
    return f"in all {interval(row)}{unit}\n{sizes(row['n'], noun, row['n_matches'])}"


def counted(values: Iterable[int]) -> str:
    """Return `12`, or `8 to 12` where counts differ."""
    found = sorted({int(value) for value in values})
    if not found:
        return "0"
    return str(found[0]) if len(found) == 1 else f"{found[0]} to {found[-1]}"


def interval(row: Any, form: str = ".2f", names: str = "") -> str:
    """Return `0.74 [0.61, 0.87]`, or `0.74` where there is no interval.

    Parameters
    ----------
    row : mapping or pandas.Series
        With `estimate`, `ci_low` and `ci_high`.
    form : str
        How a number is written.
    names : str
        Other columns in place of these three, with spaces between.
    """
    columns = names.split() or ["estimate", "ci_low", "ci_high"]
    # Adding 0 takes the sign from a zero.
    mean, low, high = (format(round(float(row[name]), 6) + 0.0, form) for name in columns)
    mean, low, high = (_unsigned(text) for text in (mean, low, high))
    return mean if pd.isna(row[columns[1]]) else f"{mean} [{low}, {high}]"


def _unsigned(text: str) -> str:
    return text[1:] if text.startswith("-") and not text.strip("-0.%") else text


def above(rows: pd.DataFrame, control: Any = 0.0) -> pd.Series:
    """Return which intervals lie above a control; none where there is no interval."""
    return (rows["ci_low"] > control).fillna(False).astype(bool)


def below(rows: pd.DataFrame, control: Any = 0.0) -> pd.Series:
    """Return which intervals lie below a control; none where there is no interval."""
    return (rows["ci_high"] < control).fillna(False).astype(bool)


def beyond(rows: pd.DataFrame, control: Any = 0.0) -> pd.Series:
    """Return which intervals leave a control out."""
    return above(rows, control) | below(rows, control)


def cases(found: float, lows: pd.Series, noun: str) -> str:
    """Return `3 of 8 cases`, `none of 8 cases`, and how many cannot be told.

    Parameters
    ----------
    found : float
        How many an interval tells.
    lows : pandas.Series
        The lower bound of each case's interval; missing where there is none, as of one match.
    noun : str
    """
    bare = int(lows.isna().sum())
    without = f" ({bare} without an interval)" if bare else ""
    return f"{int(found) or 'none'} of {len(lows)} {noun}{without}"


def at_most(rows: pd.DataFrame, column: str = "estimate") -> pd.Series:
    """Return the row with the largest value of a column."""
    return rows.iloc[int(rows[column].astype(float).to_numpy().argmax())]


def furthest(rows: pd.DataFrame, first: pd.Series, control: Any = 0.0) -> pd.Series:
    """Return the row furthest from a control: of the chosen ones, or of all if none is chosen.

    Parameters
    ----------
    rows : pandas.DataFrame
        At least one.
    first : pandas.Series of bool
        The rows to choose from, where there are any.
    control : float or pandas.Series
    """
    distance = (rows["estimate"] - control).abs()
    chosen = distance.where(first.to_numpy()) if first.any() else distance
    return rows.iloc[int(chosen.astype(float).fillna(-1.0).to_numpy().argmax())]


def of_models(models: Sequence[str]) -> str:
    """Return ` of NAME` of a single model, and nothing of several."""
    return f" of {models[0]}" if len(models) == 1 else ""


def listed(parts: Sequence[str], last: str = "and") -> str:
    """Return `a, b and c`."""
    head, end = ", ".join(parts[:-1]), parts[-1]
    return f"{head} {last} {end}" if head else end
