"""The play of all groups and jobs as one table.

Jobs share the matches among them, so the order comes from the rows: it is then the same for every
number of jobs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd


def join_decisions(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Return several play tables as one."""
    table = pd.concat(tables, ignore_index=True)
    return table.sort_values(["pairing", "match_id", "round", "seat"], ignore_index=True)


DOSE_COLUMNS = dict.fromkeys(("player", "direction", "edit", "layers"), "str") | {"dose": "float64"}
"""What is said of a steered seat, with types: the name that its doses share, its direction, kind of
edit, layers (such as `1+2+3`) and dose."""


def with_doses(decisions: pd.DataFrame, steered: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Return a play table with each seat's intervention and its opponent's; missing without one.

    Parameters
    ----------
    decisions : pandas.DataFrame
    steered : mapping of str to mapping
        Interventions of the steered agents (`nashlens.config.doses.dose_agents`), by name.
    """
    said = {
        "player": lambda how: how["player"],
        "direction": lambda how: how["direction"],
        "edit": lambda how: how["kind"],
        "layers": lambda how: "+".join(map(str, how["layers"])),
        "dose": lambda how: how["value"],
    }
    columns = {
        f"{side}{name}": decisions[column].map({agent: of(how) for agent, how in steered.items()})
        for side, column in (("", "agent"), ("opponent_", "opponent"))
        for name, of in said.items()
    }
    types = {f"{side}{name}": t for side in ("", "opponent_") for name, t in DOSE_COLUMNS.items()}
    return decisions.assign(**columns).astype(types)


def join_texts(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Return several texts tables as one."""
    table = pd.concat(tables, ignore_index=True)
    order = ["match_id", "round", "seat", "kind", "attempt"]
    return table.sort_values(order, ignore_index=True)
