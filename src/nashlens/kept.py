"""Which rows of a prompts table are used: one rule for every stage that reads it."""

from __future__ import annotations

import pandas as pd


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
