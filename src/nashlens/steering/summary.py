"""A steering sweep as estimates: response to each value, and its change over all of them.

The change at each layer has the intervals of claims M7 (adding) and M8 (clamping): they hold for
all layers at once, and come from the same resamples, so that figure and findings agree.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from nashlens.contrasts import bootstrap_draws, simultaneous_interval
from nashlens.estimates import Array, Bootstrap, collect, frame, mean_estimates, plain_means
from nashlens.steering.readings import changes_both_ways, rank_correlations

DESCRIPTIONS = {
    "p_action_1": "P(action 1) at a value",
    "change": "P(action 1) at the largest value minus that at the smallest",
}
"""Quantity -> what it is."""
_CLAIMS = {"add": "M7", "clamp": "M8"}
_KEYS = dict.fromkeys(("model", "kind", "quantity", "direction", "game"), "str")
_KEYS |= {"layer": "int64", "value": "float64"}


def steering_estimates(steering: pd.DataFrame, *, model: str, how: Bootstrap) -> pd.DataFrame:
    """Return the response to adding and to clamping, layer by layer.

    Parameters
    ----------
    steering : DataFrame
        Of `sweep_table`, one model.
    model : str
    how : Bootstrap

    Returns
    -------
    DataFrame
        `model`, `kind`, `quantity` (see `DESCRIPTIONS`), `direction` (`nash`; `random`: the mean
        over random directions, with quantiles over them as bounds), `game` (missing: all games),
        `layer`, `value` (missing for the change), `estimates.COLUMNS`, `n_directions`.
    """
    tables = []
    for kind in _CLAIMS:
        rows = steering[steering["kind"] == kind]
        for layer, part in rows[rows["direction"] == "nash"].groupby("layer"):
            others = rows[(rows["layer"] == layer) & (rows["direction"] != "nash")]
            found = [*_responses(part, others, kind, model, how)]
            tables += [table.assign(kind=kind, layer=layer) for table in found]
        tables += [table.assign(kind=kind) for table in _changes(rows, kind, model, how)]
    tables = [table.assign(model=model) for table in tables]
    return collect(tables, _KEYS, {"n_directions": "int64"})


def _prompts_by_value(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.Series]:
    """Return P(action 1) of prompts that had every value, prompts x values, and their matches."""
    first = rows.drop_duplicates(["prompt_id", "value"])
    table = first.pivot(index="prompt_id", columns="value", values="p_action_1").dropna()
    matches = rows.drop_duplicates("prompt_id").set_index("prompt_id")["match_id"]
    return table, matches.loc[table.index].astype(str)


def _responses(
    nash: pd.DataFrame, others: pd.DataFrame, kind: str, model: str, how: Bootstrap
) -> Any:
    """Yield the response at one layer: of all games, of each, and of random directions."""
    table, matches = _prompts_by_value(nash)
    layer = int(nash["layer"].iloc[0])
    common = {"quantity": "p_action_1", "direction": "nash", "game": None, "n_directions": 1}
    found = mean_estimates(table, matches, how, "steering summary", model, kind, layer)
    yield found.assign(**common, value=table.columns)
    for game, part in nash.groupby("game", sort=False):
        first = part.drop_duplicates(["prompt_id", "value"])
        wide = first.pivot(index="prompt_id", columns="value", values="p_action_1")
        mean = plain_means(wide, part.drop_duplicates("prompt_id")["match_id"])
        yield mean.assign(**common | {"game": game}, value=wide.columns)
    if len(others):
        means = others.groupby(["direction", "value"])["p_action_1"].mean().unstack("value")
        yield _over_directions(means, others, how).assign(
            quantity="p_action_1", game=None, value=means.columns
        )


def _over_directions(means: pd.DataFrame, rows: pd.DataFrame, how: Bootstrap) -> pd.DataFrame:
    """Return the mean over random directions and the quantiles between which they lie."""
    tail = (1 - how.confidence) / 2
    bounds = means.quantile(tail), means.quantile(1 - tail)
    n, n_matches = rows["prompt_id"].nunique(), rows["match_id"].nunique()
    found = frame(means.mean(), *bounds, "directions", n, n_matches)
    return found.assign(direction="random", n_directions=len(means))


def _changes(rows: pd.DataFrame, kind: str, model: str, how: Bootstrap) -> Any:
    """Yield the changes at all layers: of the Nash direction, and of random directions."""
    nash = rows[rows["direction"] == "nash"]
    if nash["value"].nunique() < 2:
        return
    keys = ["prompt_id", "layer", "value"]
    wide = nash.drop_duplicates(keys).pivot(
        index="prompt_id", columns=["layer", "value"], values="p_action_1"
    )
    layers, values = (np.sort(nash[name].unique()) for name in ("layer", "value"))
    grid = pd.MultiIndex.from_product([layers, values])
    wide = wide.reindex(columns=grid).dropna()
    if wide.empty:
        return
    matches = nash.drop_duplicates("prompt_id").set_index("prompt_id")["match_id"]
    matches = matches.loc[wide.index].astype(str)
    p = wide.to_numpy(float).reshape(len(wide), len(layers), len(values))
    columns = _claim_columns(p, values.astype(float), kind)
    estimate, draws = bootstrap_draws(
        columns,
        matches,
        resamples=how.resamples,
        rng=how.rng("findings", model, _CLAIMS[kind]),
    )
    low, high = simultaneous_interval(estimate, draws, how.confidence)
    if matches.nunique() < 2:
        low, high = np.full((2, len(estimate)), np.nan)
    last = slice(-len(layers), None)
    common = {"quantity": "change", "game": None, "value": np.nan}
    found = frame(estimate[last], low[last], high[last], "simultaneous", len(p), matches.nunique())
    yield found.assign(**common, direction="nash", layer=layers, n_directions=1)
    ends = rows[(rows["direction"] != "nash") & rows["value"].isin(values[[0, -1]])]
    for layer, part in ends.groupby("layer"):
        means = part.groupby(["direction", "value"])["p_action_1"].mean().unstack("value")
        if means.shape[1] == 2:
            moves = (means[values[-1]] - means[values[0]]).to_frame()
            yield _over_directions(moves, part, how).assign(**common, layer=layer)


def _claim_columns(p: Array, values: Array, kind: str) -> Array:
    """Return what the claim looks at together, (prompts, k), the changes of all layers last.

    Bounds hold for all of these columns at once. M7 looks at both halves of the change, up and
    down from no steering; M8 at the rank correlation of value and response.
    """
    change = p[:, :, -1] - p[:, :, 0]
    if kind == "clamp":
        return np.hstack([rank_correlations(p, values), change])
    if 0.0 not in values[1:-1]:
        return change
    return changes_both_ways(p, values)
