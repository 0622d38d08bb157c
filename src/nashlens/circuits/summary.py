"""Ablated heads as estimates: each head's effect, the chosen group's, and the random groups'.

The candidate group's interval comes from the same resamples as that of claim M4, so that figure
and findings agree.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from nashlens.circuits.readings import Ablations
from nashlens.estimates import Array, Bootstrap, collect, frame

DESCRIPTIONS = {
    "action_part": "drop of the Nash action's logit over the other, games and label maps weighing"
    " the same",
    "token_part": "the same towards the pair's first label, whatever it means",
}
"""Quantity -> what it is."""
_KEYS = {
    "model": "str", "kind": "str", "quantity": "str", "ablation": "str", "layer": "Int64",
    "head": "Int64", "heads": "str",
}  # fmt: skip


def heads_estimates(heads: pd.DataFrame, *, model: str, how: Bootstrap) -> pd.DataFrame:
    """Return what each ablation costs the Nash action.

    Parameters
    ----------
    heads : DataFrame
        Of `heads_table`, one model.
    model : str
    how : Bootstrap

    Returns
    -------
    DataFrame
        `model`, `kind` (`head`, on all matches; `candidate` and `random`, on the half of them
        where the group was not chosen), `quantity` (see `DESCRIPTIONS`), `ablation`, `layer`,
        `head`, `heads`, then `estimates.COLUMNS`. Bounds of heads hold for all heads at once.
    """
    tables = []
    single = Ablations(heads, "head")
    if len(single):
        table = _bounded(single, single.values, how, "heads summary", model, at_once=True)
        tables.append(_keyed(table, single, "head", "action_part"))
    groups = {kind: Ablations(heads, kind, "test") for kind in ("candidate", "random")}
    for kind, group in groups.items() if len(groups["candidate"]) else ():
        values = np.hstack([group.values, group.token()])
        table = _bounded(group, values, how, "findings", model, "M4")
        for place, quantity in enumerate(DESCRIPTIONS):
            part = table.iloc[place * len(group.names) :][: len(group.names)]
            tables.append(_keyed(part, group, kind, quantity))
    return collect((table.assign(model=model) for table in tables), _KEYS)


def _keyed(table: pd.DataFrame, ablations: Ablations, kind: str, quantity: str) -> pd.DataFrame:
    """Say which ablation each row is of."""
    places = ablations.places.reset_index()
    return table.reset_index(drop=True).assign(
        kind=kind, quantity=quantity, **{str(name): places[name] for name in places}
    )


def _bounded(
    ablations: Ablations, values: Array, how: Bootstrap, *names: str, at_once: bool = False
) -> pd.DataFrame:
    """Return cell means of columns, with Student's interval where each cell has two matches."""
    mean, draws = ablations.cell_means(values, resamples=how.resamples, rng=how.rng(*names))
    n, n_matches = len(ablations), len(set(ablations.matches))
    if ablations.least_matches() < 2 or not len(draws):
        none = np.full(len(mean), np.nan)
        return frame(mean, none, none, "", n, n_matches)
    bounds = ablations.interval(mean, draws, how.confidence, len(mean) if at_once else 1)
    return frame(mean, *bounds, "student, all at once" if at_once else "student", n, n_matches)
