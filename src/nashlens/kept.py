"""Which rows of a table are used: one rule for every stage that reads it."""

from __future__ import annotations

import pandas as pd

from nashlens.vocabulary.positions import DECISION


def kept(prompts: pd.DataFrame) -> pd.DataFrame:
    """Return the prompts that were not dropped, under their own index.

    Parameters
    ----------
    prompts : DataFrame
        With `dropped`: why a prompt is not used; empty or missing where it is.
    """
    return prompts[prompts["dropped"].fillna("") == ""]


def neutral(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows whose labels mean nothing by themselves, under their own index.

    Controlled estimates are about these; words with a meaning are for the ladder.

    Parameters
    ----------
    rows : DataFrame
        Where it has `label_kind`, rows of another kind than `neutral` are left out.
    """
    return rows[rows["label_kind"] == "neutral"] if "label_kind" in rows.columns else rows


def at_position(rows: pd.DataFrame, position: str = DECISION) -> pd.DataFrame:
    """Return the rows about one position of the prompts, under their own index.

    Parameters
    ----------
    rows : DataFrame
        A table of probes or of a lens. Where it has no `position`, all of it is about the decision.
    position : str
        See `nashlens.vocabulary.positions`.
    """
    if "position" not in rows.columns:
        return rows if position == DECISION else rows[:0]
    return rows[rows["position"] == position]
