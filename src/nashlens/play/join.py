"""The play of all groups and jobs as one table.

Jobs share the matches among them, so the order comes from the rows: it is then the same for every
number of jobs.
"""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd


def join_decisions(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Return several play tables as one."""
    table = pd.concat(tables, ignore_index=True)
    return table.sort_values(["pairing", "match_id", "round", "seat"], ignore_index=True)


def join_texts(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Return several texts tables as one."""
    table = pd.concat(tables, ignore_index=True)
    order = ["match_id", "round", "seat", "kind", "attempt"]
    return table.sort_values(order, ignore_index=True)
