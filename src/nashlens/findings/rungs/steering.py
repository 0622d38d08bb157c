"""Rungs of the claim about steering (M7).

The published way adds a direction of fixed words, and takes what becomes of P(action 1) under the
same words for a change of the action. On blocks the change has an action part and a word part; a
direction of neutral labels is tried on labels that it knows, and then on others.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from nashlens.contrasts import Array
from nashlens.factorial import BlockEstimate, ScenarioBlocks
from nashlens.findings.claim import JudgeSettings, Missing, verdict_of
from nashlens.findings.rungs.reading import LadderData, RungReading, naive_interval
from nashlens.findings.shared.sweep import LEAST_CHANGE

KEYS = ["prompt_id", "match_id"]
KNOWN = "seen_label_set"
"""Column of the steering table: the direction was fitted on the row's label set."""


class _Changes(NamedTuple):
    """What a direction changes, from the smallest to the largest value that is added."""

    rows: pd.DataFrame
    """The prompts, numbered from 0, with the columns of the prompts table."""
    change: Array
    """(prompts, places): of P(action 1)."""
    places: list[str]
    """The layers after which it was added."""


def _changes(
    data: LadderData, prompts: pd.DataFrame, direction: str, known: bool | None = None
) -> _Changes | Missing:
    """Return what a direction changes on some prompts, those with labels that it knows or not."""
    table = data.tables.get("steering")
    if table is None or table.empty:
        return Missing("the study has no steering")
    rows = table[(table["kind"] == "add") & (table["direction"] == direction)]
    if known is not None and KNOWN in rows.columns:
        rows = rows[rows[KNOWN] == known]
    place = "layers" if "layers" in rows.columns else "layer"
    rows = rows.assign(at=rows[place].astype(str)).drop_duplicates([*KEYS, "at", "value"])
    rows = rows[pd.MultiIndex.from_frame(rows[KEYS]).isin(pd.MultiIndex.from_frame(prompts[KEYS]))]
    if rows.empty or rows["value"].nunique() < 2:
        return Missing(f"no prompt of this rung was steered along the {direction} direction")
    least, most = rows["value"].min(), rows["value"].max()
    wide = rows.pivot(index=KEYS, columns=["at", "value"], values="p_action_1")
    places = list(dict.fromkeys(rows.sort_values("layer")["at"]))
    change = np.stack(
        [(wide[at, most] - wide[at, least]).to_numpy(dtype=float) for at in places], axis=1
    )
    described = prompts.drop_duplicates(KEYS).set_index(KEYS).loc[wide.index].reset_index()
    complete = ~np.isnan(change).any(axis=1)
    return _Changes(described[complete].reset_index(drop=True), change[complete], places)


def _reading(
    found: tuple[float, float, float],
    unit: str,
    where: str,
    counts: tuple[int, int],
    more: str,
    control: str = "",
) -> RungReading:
    estimate, low, high = found
    verdict = verdict_of(low > 0 and estimate >= LEAST_CHANGE, high < LEAST_CHANGE)
    return RungReading(
        estimate=estimate,
        low=low,
        high=high,
        unit=unit,
        n=counts[0],
        n_matches=counts[1],
        concludes=verdict,
        short=f"{estimate:+.2f} after layer {where}",
        reason=f"from the smallest to the largest value that is added after layer {where}, {more}",
        control=control,
    )


def published_words(
    data: LadderData, prompts: pd.DataFrame, settings: JudgeSettings
) -> RungReading | Missing:
    """M7 as published: the direction of fixed words moves P(action 1) under these words.

    Parameters
    ----------
    data : LadderData
    prompts : DataFrame
        Those that the rung takes.
    settings : JudgeSettings
    """
    found = _changes(data, prompts, "published")
    if isinstance(found, Missing):
        return found
    n = len(found.rows)
    if n < 2:
        return Missing("one prompt only: no interval", "inconclusive")
    mean, low, high = naive_interval(found.change, settings)
    k = int(mean.argmax())
    return _reading(
        (float(mean[k]), float(low[k]), float(high[k])),
        "P(action 1)",
        found.places[k],
        (n, int(found.rows["match_id"].nunique())),
        f"P(action 1) changes by {mean[k]:+.2f}",
    )


def _parts(found: _Changes) -> dict[str, BlockEstimate] | Missing:
    """Return the parts of the change at each place."""
    blocks = ScenarioBlocks(found.rows)
    if blocks.n_clusters < 2:
        return Missing("fewer than two histories were steered in whole blocks", "inconclusive")
    parts = blocks.parts(found.change, np.ones(len(found.rows)))
    return {name: blocks.estimate(values) for name, values in parts.items()}


def _by_part(
    data: LadderData,
    prompts: pd.DataFrame,
    settings: JudgeSettings,
    direction: str,
    part: str,
    known: bool | None = None,
) -> tuple[RungReading, _Changes, float] | Missing:
    """Read the largest change of a part; its bounds hold for all places at once."""
    found = _changes(data, prompts, direction, known)
    if isinstance(found, Missing):
        return found
    parts = _parts(found)
    if isinstance(parts, Missing):
        return parts
    one, other = parts[part], parts["word" if part == "action" else "action"]
    low, high = one.interval(settings.confidence, at_once=len(found.places))
    k = int(np.nan_to_num(one.estimate, nan=-np.inf).argmax())
    name = "word" if part == "action" else "action"
    most = int(np.abs(np.nan_to_num(other.estimate)).argmax())
    reading = _reading(
        (float(one.estimate[k]), float(low[k]), float(high[k])),
        f"{part} part of P",
        found.places[k],
        (one.n, one.n_clusters),
        f"the {part} part changes by {one.estimate[k]:+.2f}, and the {name} part by up to"
        f" {other.estimate[most]:+.2f} (after layer {found.places[most]})",
        f"{name} part {other.estimate[most]:+.2f}",
    )
    return reading, found, float(one.estimate[k])


def published_parts(
    data: LadderData, prompts: pd.DataFrame, settings: JudgeSettings
) -> RungReading | Missing:
    """Return how far the direction of fixed words moves the action, apart from the words."""
    found = _by_part(data, prompts, settings, "published", "action")
    return found if isinstance(found, Missing) else found[0]


def label_direction(
    data: LadderData, prompts: pd.DataFrame, settings: JudgeSettings
) -> RungReading | Missing:
    """Return how far a direction of neutral labels moves the labels that it was fitted on."""
    found = _by_part(data, prompts, settings, "label", "word", known=True)
    return found if isinstance(found, Missing) else found[0]


def beyond_random(
    data: LadderData, prompts: pd.DataFrame, settings: JudgeSettings
) -> RungReading | Missing:
    """Return how far it moves labels that it does not know, next to random directions."""
    found = _by_part(data, prompts, settings, "label", "word", known=False)
    if isinstance(found, Missing):
        return found
    reading, changes, estimate = found
    random = [
        float(np.abs(parts["word"].estimate).max())
        for name in sorted(set(data.tables["steering"]["direction"]))
        if name.startswith("random")
        for other in [_changes(data, changes.rows, name)]
        if not isinstance(other, Missing)
        for parts in [_parts(other)]
        if not isinstance(parts, Missing)
    ]
    if not random:
        return Missing("no random direction to compare with", "inconclusive")
    verdict = reading.concludes
    if verdict == "supported" and max(random) >= estimate:
        verdict = "inconclusive"
    more = f"; random directions change it by up to {max(random):.2f}"
    return RungReading(
        **{
            **vars(reading),
            "concludes": verdict,
            "short": f"{reading.short}, random {max(random):.2f}",
            "reason": reading.reason + more,
            "control": f"random up to {max(random):.2f}",
        }
    )
