"""What spikes say of a null: power by strength and layer, and the smallest effect found."""

from __future__ import annotations

import numpy as np
import pandas as pd

from nashlens.contrasts import POWER, wilson_interval

NONE = "none"
"""The spike that is none: the model as it is."""
MEASURED = ("M4", "M7", "M8", "M9", "M10", "M11")
"""Claims whose spikes are added to what interventions were measured to do (`spiked_answers`)."""
_KEYS = ["model", "spike", "layer", "strength", "unit", "claim", "counts", "wanted"]


def summarise_spikes(spikes: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Return the share of draws with the verdict that counts, with Wilson's interval.

    Parameters
    ----------
    spikes : DataFrame
        From `spike_tables`.
    confidence : float

    Returns
    -------
    DataFrame
        One row per spike, layer, strength and claim: `estimate`, `ci_low`, `ci_high`, `n` draws.
    """
    hit = spikes["verdict"].eq(spikes["wanted"])
    groups = spikes.assign(hit=hit).groupby(_KEYS, sort=False, dropna=False)["hit"]
    table = groups.agg(["sum", "size"]).reset_index()
    bounds = [
        wilson_interval(int(k), int(n), confidence)
        for k, n in zip(table["sum"], table["size"], strict=True)
    ]
    low, high = np.array(bounds).reshape(-1, 2).T
    return table[_KEYS].assign(
        estimate=table["sum"] / table["size"], ci_low=low, ci_high=high, n=table["size"]
    )


def worth(summary: pd.DataFrame) -> pd.DataFrame:
    """Return for each model and claim what the spikes say of a null.

    Returns
    -------
    DataFrame
        `model`, `claim`, `spike_found`: the smallest strength that has power 0.8 at some layer and
        so has every larger one there; infinite if none has. `spike_unit`, and `spike_false`: the
        largest share of draws, over spikes of the wrong kind, with the verdict. Both are missing
        where the model has the verdict without a spike.
    """
    rows = []
    for (model, claim), part in summary.groupby(["model", "claim"], sort=False):
        power = part[part["counts"] == "power"]
        spiked = power[power["spike"] != NONE]
        own = power.loc[power["spike"] == NONE, "estimate"].max() >= POWER
        wrong = part.loc[part["counts"] == "false", "estimate"]
        rows.append(
            {
                "model": model,
                "claim": claim,
                "spike_found": np.nan if own or spiked.empty else _smallest(spiked),
                "spike_unit": spiked["unit"].iloc[0] if len(spiked) else "",
                "spike_false": np.nan if own or wrong.empty else float(wrong.max()),
            }
        )
    columns = ["model", "claim", "spike_found", "spike_unit", "spike_false"]
    return pd.DataFrame(rows, columns=columns)


def _smallest(power: pd.DataFrame) -> float:
    smallest = np.inf
    for _, rows in power.groupby("layer"):
        rows = rows.sort_values("strength", ascending=False)
        # The unbroken run of strengths with power, from the largest down.
        run = rows["estimate"].ge(POWER).cummin()
        smallest = min(smallest, float(rows.loc[run, "strength"].min()) if run.any() else np.inf)
    return smallest


def with_spike(reason: str, row: pd.Series) -> str:
    """Return a reason that ends in what spikes say of its claim, by a row of `worth`."""
    found, wrong = row["spike_found"], row["spike_false"]
    if np.isnan(found):
        return reason
    size = f"An effect of {found:g} {row['spike_unit']}" if np.isfinite(found) else "No effect"
    where = "added to what was measured" if row["claim"] in MEASURED else "put into this model"
    said = f"{size} {where} is found four times in five"
    if wrong > 0:
        said += f"; one of the wrong kind was taken for it in {wrong:.0%} of draws"
    return f"{reason.rstrip('.')}. {said}."
