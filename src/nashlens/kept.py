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
