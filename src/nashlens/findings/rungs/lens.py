"""Rungs of the claims about the logit lens (M5, M6).

The published way looks at P of a word, averages it over prompts as if each were a study of its own,
and calls the word an action. From the label map on, the claims' own estimators part action and
word.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from nashlens.contrasts import Array
from nashlens.depth import is_late
from nashlens.findings.claim import JudgeSettings, Missing
from nashlens.findings.claims import m5_nash_favoured as m5
from nashlens.findings.claims import m6_late_override as m6
from nashlens.findings.rungs.reading import (
    LadderData,
    RungReading,
    any_words,
    by_claim,
    naive_interval,
)
from nashlens.kept import at_position
from nashlens.lens.readings import conflicting

LIKELY, UNLIKELY = 0.55, 0.45
"""P of the prosocial word above which it is preferred, and below which the Nash word is."""
MOST = 0.5
"""Share of layers from which on it is most of them."""
WHOLE, FIRST_TOKEN = "whole_action_1", "p_action_1"
"""Columns of the lens: P over whole labels, and at the first token in which they differ."""
_NO_CONFLICT = "no prompt of this rung has a prosocial action other than its Nash action"


class _WordByLayer(NamedTuple):
    """P(prosocial word) of some prompts at the layers from 1, with naive bounds; (layers,) each."""

    values: Array
    """(prompts, layers)."""
    layers: Array
    mean: Array
    low: Array
    high: Array
    n: int
    n_matches: int


def _words(
    data: LadderData, prompts: pd.DataFrame, settings: JudgeSettings, column: str
) -> _WordByLayer | Missing:
    """Average P(prosocial word) over prompts, each counted as independent of the others."""
    keys = ["prompt_id", "match_id"]
    rows = conflicting(prompts).drop_duplicates(keys)
    lens = at_position(data.tables["lens"])
    table = lens[lens["layer"] >= 1].merge(rows[[*keys, "prosocial_action"]], on=keys)
    if table.empty:
        return Missing(_NO_CONFLICT)
    p_1 = table[column].to_numpy(dtype=float)
    p = np.where(table["prosocial_action"].to_numpy(dtype=float) == 1, p_1, 1.0 - p_1)
    wide = table.assign(p=p).pivot(index=keys, columns="layer", values="p")
    values, n = wide.to_numpy(dtype=float), len(wide)
    if n < 2:
        return Missing("one prompt only: no interval", "inconclusive")
    layers = np.asarray(wide.columns.to_numpy(dtype=int))
    matches = wide.index.get_level_values("match_id").nunique()
    return _WordByLayer(values, layers, *naive_interval(values, settings), n, int(matches))


def late_word(
    data: LadderData, prompts: pd.DataFrame, settings: JudgeSettings, column: str = FIRST_TOKEN
) -> RungReading | Missing:
    """M6 as published: the prosocial word is likely late, and unlikely before on average.

    Parameters
    ----------
    data : LadderData
    prompts : DataFrame
        Those that the rung takes.
    settings : JudgeSettings
    column : str
        `WHOLE` or `FIRST_TOKEN`.
    """
    found = _words(data, prompts, settings, column)
    if isinstance(found, Missing):
        return found
    late = is_late(found.layers, settings.late_fraction)
    if late.all():
        return Missing("no layer lies before the late ones: the model is too shallow")
    peak = int(np.flatnonzero(late)[found.mean[late].argmax()])
    early, early_low, early_high = naive_interval(found.values[:, ~late].mean(axis=1), settings)
    verdict = "inconclusive"
    if found.low[peak] > LIKELY and early_high < UNLIKELY:
        verdict = "supported"
    elif found.high[late].max() < LIKELY or early_low > UNLIKELY:
        verdict = "contradicted"
    below, before = int((found.mean[~late] < UNLIKELY).sum()), int((~late).sum())
    layer = int(found.layers[peak])
    return RungReading(
        estimate=float(found.mean[peak]),
        low=float(found.low[peak]),
        high=float(found.high[peak]),
        unit="P(prosocial word)",
        n=found.n,
        n_matches=found.n_matches,
        concludes=verdict,
        short=f"{found.mean[peak]:.2f} at layer {layer}",
        reason=f"P(prosocial word) is {found.mean[peak]:.2f} at layer {layer} of"
        f" {int(found.layers.max())} and {found.mean[-1]:.2f} at the last layer; before the late"
        f" layers it is {float(early):.2f} on average, and below"
        f" {UNLIKELY:g} at {below} of {before} layers",
        control=f"before: {float(early):.2f}",
    )


def early_word(
    data: LadderData, prompts: pd.DataFrame, settings: JudgeSettings, column: str = FIRST_TOKEN
) -> RungReading | Missing:
    """M5 as published: the Nash word is likelier than the other one at most layers.

    Bounds count the layers whose own naive bounds are clear of `UNLIKELY`.
    """
    found = _words(data, prompts, settings, column)
    if isinstance(found, Missing):
        return found
    share, low, high = (
        float((bound < UNLIKELY).mean()) for bound in (found.mean, found.high, found.low)
    )
    favoured, layers = int((found.mean < UNLIKELY).sum()), len(found.layers)
    verdict = "supported" if low > MOST else "contradicted" if high < MOST else "inconclusive"
    return RungReading(
        estimate=share,
        low=low,
        high=high,
        unit="share of layers",
        n=found.n,
        n_matches=found.n_matches,
        concludes=verdict,
        short=f"{favoured} of {layers} layers",
        reason=f"the Nash word is likelier than the prosocial one at {favoured} of {layers} layers",
    )


def late_action(
    data: LadderData, prompts: pd.DataFrame, settings: JudgeSettings
) -> RungReading | Missing:
    """M6 by its own estimator: the action part, which no preference for a word can enter."""
    tables = {"lens": data.tables["lens"], "prompts": any_words(prompts)}
    return by_claim(m6.CLAIM, tables, settings, "logits", "action part", "word part")


def early_action(
    data: LadderData, prompts: pd.DataFrame, settings: JudgeSettings
) -> RungReading | Missing:
    """M5 by its own estimator, on prompts with a conflict as the rungs below."""
    tables = {"lens": data.tables["lens"], "prompts": any_words(conflicting(prompts))}
    return by_claim(m5.CLAIM, tables, settings, "share of layers", "share of layers", "by the word")
