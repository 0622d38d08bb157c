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

    A draw is of the same histories for every spike. One in which the model has the verdict without
    any spike says nothing of a spike: it is neither found there nor mistaken. So power, and the
    share of false findings, are conditional on histories in which the model by itself lacks the
    verdict, as it does where the study ends in a null. Only the model's own row counts all draws.
    What is left is the same for every strength, so that strengths can be compared; but histories
    that lack the verdict favour it less than others do, so that power is low rather than high.

    Parameters
    ----------
    spikes : DataFrame
        From `spike_tables`.
    confidence : float

    Returns
    -------
    DataFrame
        One row per spike, layer, strength and claim: `estimate`, `ci_low`, `ci_high`, and `n`, the
        draws that count; where none is left, NaN.
    """
    hit = spikes["verdict"].eq(spikes["wanted"])
    of_draw = pd.MultiIndex.from_frame(spikes[["model", "claim", "draw"]])
    own = spikes["spike"].eq(NONE)
    counted = own | ~of_draw.isin(of_draw[hit & own])
    groups = spikes.assign(hits=hit & counted, n=counted).groupby(_KEYS, sort=False, dropna=False)
    table = groups[["hits", "n"]].sum().reset_index()
    bounds = [
        wilson_interval(int(k), int(n), confidence)
        for k, n in zip(table["hits"], table["n"], strict=True)
    ]
    low, high = np.array(bounds).reshape(-1, 2).T
    share = table["hits"] / table["n"].where(table["n"] > 0)
    return table[_KEYS].assign(estimate=share, ci_low=low, ci_high=high, n=table["n"])


def worth(summary: pd.DataFrame) -> pd.DataFrame:
    """Return for each model and claim what the spikes say of a null.

    Returns
    -------
    DataFrame
        `model`, `claim`, `spike_found`: the smallest strength that has power 0.8 at some layer and
        so has every larger one there; infinite if none has. `spike_unit`, and `spike_false`: the
        largest share of draws, over spikes of the wrong kind, with the verdict. Both are missing
        where the model has the verdict without a spike in four draws of five or more: it shows no
        null there, and the few draws that are left say little. (Without any spike the unit is
        empty as well.) `spike_shares` and `false_shares` say in words of how many draws that power
        is (of the largest strength, if none has power), and that share, with their intervals.
    """
    rows = []
    for (model, claim), part in summary.groupby(["model", "claim"], sort=False):
        power = part[part["counts"] == "power"]
        spiked = power[power["spike"] != NONE]
        own = power.loc[power["spike"] == NONE, "estimate"].max() >= POWER
        judged = spiked[spiked["n"] > 0]
        wrong = part[(part["counts"] == "false") & (part["n"] > 0)]
        found, at = np.nan, None
        if not own and len(judged):
            found, at = _smallest(judged)
        mistaken = None if own or wrong.empty else wrong.sort_values("estimate").iloc[-1]
        rows.append(
            {
                "model": model,
                "claim": claim,
                "spike_found": found,
                "spike_unit": spiked["unit"].iloc[0] if len(spiked) else "",
                "spike_false": np.nan if mistaken is None else float(mistaken["estimate"]),
                "spike_shares": "" if at is None else _of_draws(at),
                "false_shares": "" if mistaken is None else _of_draws(mistaken),
            }
        )
    columns = ["model", "claim", "spike_found", "spike_unit", "spike_false"]
    return pd.DataFrame(rows, columns=[*columns, "spike_shares", "false_shares"])


def _smallest(power: pd.DataFrame) -> tuple[float, pd.Series]:
    """Return the smallest strength with power, and the row that says so.

    Infinity, and the row of the largest strength, where none has.
    """
    candidates = []
    for _, rows in power.groupby("layer"):
        rows = rows.sort_values("strength", ascending=False)
        # The unbroken run of strengths with power, from the largest down.
        candidates.append(rows[rows["estimate"].ge(POWER).cummin()])
    found = pd.concat(candidates)
    if len(found):
        found = found.sort_values(["strength", "estimate"], ascending=[True, False])
        return float(found["strength"].iloc[0]), found.iloc[0]
    return np.inf, power.sort_values(["strength", "estimate"], ascending=False).iloc[0]


def _of_draws(row: pd.Series) -> str:
    interval = f"{row['estimate']:.0%} [{row['ci_low']:.0%}, {row['ci_high']:.0%}]"
    return f"{interval} of {row['n']} draws"


def with_spike(reason: str, row: pd.Series) -> str:
    """Return a reason that ends in what spikes say of its claim, by a row of `worth`."""
    found, wrong = row["spike_found"], row["spike_false"]
    if np.isnan(found):
        return reason
    size = f"An effect of {found:g} {row['spike_unit']}" if np.isfinite(found) else "No effect"
    where = "added to what was measured" if row["claim"] in MEASURED else "put into this model"
    drawn = f"{'' if np.isfinite(found) else 'the largest in '}{row['spike_shares']}"
    said = f"{size} {where} is found four times in five ({drawn})"
    if wrong > 0:
        said += f"; one of the wrong kind was taken for it in {row['false_shares']}"
    return f"{reason.rstrip('.')}. {said}."
