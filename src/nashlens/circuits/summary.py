"""Ablations as estimates: each head's and MLP's effect, the chosen groups', the random groups'."""

from __future__ import annotations

import pandas as pd

from nashlens.circuits.readings import Ablations, rows_of_arms
from nashlens.contrasts import Array
from nashlens.estimates import Bootstrap, collect, frame

DESCRIPTIONS = {
    "action_part": "drop of the Nash action's logit over the other, whatever it is called",
    "word_part": "drop of the logit of the pair's first label, whatever it means",
    "place_part": "drop of the logit of the option listed first",
    "interaction": "how much larger the action part is where the first label is listed first",
}
"""Quantity -> what it is: the parts of `nashlens.factorial`, in their order."""
_KEYS = {
    "model": "str", "kind": "str", "component": "str", "positions": "str", "method": "str",
    "quantity": "str", "ablation": "str", "layer": "Int64", "head": "Int64", "heads": "str",
}  # fmt: skip
_SINGLE = ("head", "mlp")
"""Kinds of one component each."""
_SPREADS = {"spread_label_sets": "label_set", "spread_templates": "template"}
"""Column -> over what it is the standard deviation."""


def heads_estimates(heads: pd.DataFrame, *, model: str, how: Bootstrap) -> pd.DataFrame:
    """Return what each ablation costs.

    Parameters
    ----------
    heads : DataFrame
        Of `heads_table`, one model.
    model : str
    how : Bootstrap

    Returns
    -------
    DataFrame
        `model`, `kind` (`head` and `mlp`, on the histories where groups were chosen; `candidate`
        and `random`, on the others), `component`, `positions`, `method` (see the heads table),
        `quantity` (see `DESCRIPTIONS`), `ablation`, `layer`, `head`, `heads`, then
        `estimates.COLUMNS`, and how the estimate differs between label sets and templates
        (`spread_label_sets`, `spread_templates`: standard deviations, missing where there is one).
        Bounds of single components hold for all of their kind at once.
    """
    single = heads[heads["kind"].isin(_SINGLE)]
    parts = [rows for _, rows in single.groupby(["positions", "kind"], sort=False)]
    parts += [
        rows[rows["kind"] == kind]
        for rows in rows_of_arms(heads).values()
        for kind in ("candidate", "random")
    ]
    tables = []
    for rows in parts:
        if rows.empty:
            continue
        said = rows[["kind", "component", "positions", "method"]].iloc[0]
        ablations = Ablations(rows, str(said["kind"]))
        for quantity, values in zip(DESCRIPTIONS, ablations.parts.values(), strict=True):
            if len(ablations.blocks):
                table = _bounded(ablations, values, how, at_once=said["kind"] in _SINGLE)
                tables.append(table.assign(**said, quantity=quantity, model=model))
    return collect(tables, _KEYS, dict.fromkeys(_SPREADS, "float64"))


def _bounded(ablations: Ablations, values: Array, how: Bootstrap, *, at_once: bool) -> pd.DataFrame:
    """Return the average of each ablation over blocks, with Student's interval."""
    found = ablations.blocks.estimate(values)
    if at_once:
        low, high, _ = found.simultaneous(how.confidence, how.resamples, how.rng("heads summary"))
    else:
        low, high = found.interval(how.confidence)
    bounds = "student, all at once" if at_once else "student"
    table = frame(found.estimate, low, high, bounds, found.n, found.n_clusters)
    table.loc[table["ci_low"].isna(), "interval"] = ""
    places = ablations.places.reset_index()
    spreads = {name: found.over(column)[2] for name, column in _SPREADS.items()}
    return table.assign(**{str(name): places[name] for name in places}, **spreads)
