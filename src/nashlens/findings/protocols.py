"""The ladder from the published protocol to the controlled one, as data.

A *rung* is a protocol: which prompts it takes and what it adds to the rung before. A *step* is how
one claim is judged on a rung. All rungs are read from one study's prompts, activations and tables,
and none needs a forward pass that a later rung does not need as well.

*published* is what the summaries of arXiv 2604.27167 describe, and our choice where they say
nothing: the games' own words as labels, always in the same order and with the same meaning, in one
wording; whole words compared by the raw lens; prompts counted as independent; folds of single
prompts; no baseline and no random direction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import pandas as pd

from nashlens.findings.claim import Claim, JudgeSettings, Missing
from nashlens.findings.claims import m1_history_early as m1
from nashlens.findings.claims import m3_nash_weak as m3
from nashlens.findings.claims import m5_nash_favoured as m5
from nashlens.findings.claims import m6_late_override as m6
from nashlens.findings.claims import m7_steering_both_ways as m7
from nashlens.findings.rungs import lens, probes, steering
from nashlens.findings.rungs.reading import LadderData, RungReading, by_claim
from nashlens.kept import neutral
from nashlens.vocabulary.prompts import LABEL_MAPS, OPTION_ORDERS

Estimate = Callable[[LadderData, pd.DataFrame, JudgeSettings], RungReading | Missing]
"""(what the study has stored, the prompts of the rung, settings) -> what the rung finds."""


class Rung(NamedTuple):
    """One protocol, for all claims."""

    name: str
    adds: str
    """What it adds to the rung before, in plain words."""
    takes: Mapping[str, str]
    """Column of the prompts table -> the value that the rung's prompts have there."""
    one_template: bool = False
    """Whether it takes prompts of one template only, the design's first."""


_WORDS = {"label_kind": "actions"}
_FORWARD = {"option_order": OPTION_ORDERS[0]}
_IDENTITY = {"label_map": LABEL_MAPS[0]}

PUBLISHED, CONTROLLED = "published", "controlled"
RUNGS = {
    rung.name: rung
    for rung in (
        Rung(
            PUBLISHED,
            "each game's own words, in one order, with their own meaning, in one template",
            _WORDS | _IDENTITY | _FORWARD,
            one_template=True,
        ),
        Rung(
            "+ first token",
            "words are compared at the first token in which they differ: the longer word does not"
            " lose because it is longer",
            _WORDS | _IDENTITY | _FORWARD,
            one_template=True,
        ),
        Rung(
            "+ order",
            "each question is asked with either option listed first",
            _WORDS | _IDENTITY,
            one_template=True,
        ),
        Rung(
            "+ label map",
            "each question is asked with the two words exchanged as well: what follows the action"
            " is told from what follows the word",
            _WORDS,
            one_template=True,
        ),
        Rung(
            "+ neutral labels",
            "labels that mean nothing by themselves, as J and F",
            {"label_kind": "neutral"},
            one_template=True,
        ),
        Rung(
            "+ held out, baselines",
            "whole histories or games are held out, and what is found must beat the prompt's words"
            " and random directions",
            {"label_kind": "neutral"},
        ),
        Rung(
            CONTROLLED,
            "the claim's own estimator and rule, on all that the study has of it",
            {"label_kind": "neutral"},
        ),
    )
}
"""Rungs by name, from the published protocol to the controlled one."""


def controlled(
    claim: Claim[Any],
    unit: str,
    what: str,
    control: str,
    data: LadderData,
    prompts: pd.DataFrame,
    settings: JudgeSettings,
) -> RungReading | Missing:
    """Judge a claim as the findings table does, before the correction over all claims."""
    tables = {**data.tables, "prompts": neutral(data.tables["prompts"])}
    return by_claim(claim, tables, settings, unit, what, control)


Protocol = Mapping[str, Estimate]
"""How one claim climbs the ladder: rung -> how it is judged there. Rungs that add nothing for a
claim are left out."""


PROTOCOLS: dict[str, Protocol] = {
    "M1": {
        PUBLISHED: probes.history_random,
        "+ order": probes.history_random,
        "+ label map": probes.history_random,
        "+ neutral labels": probes.history_random,
        "+ held out, baselines": probes.history_grouped,
        CONTROLLED: partial(controlled, m1.CLAIM, "balanced accuracy", "accuracy", "permuted"),
    },
    "M3": {
        PUBLISHED: probes.nash_random,
        "+ order": probes.nash_random,
        "+ label map": probes.label_random,
        "+ neutral labels": probes.label_random,
        "+ held out, baselines": probes.label_grouped,
        CONTROLLED: partial(
            controlled, m3.CLAIM, "balanced accuracy", "largest accuracy", "permuted"
        ),
    },
    "M5": {
        PUBLISHED: partial(lens.early_word, column=lens.WHOLE),
        "+ first token": lens.early_word,
        "+ order": lens.early_word,
        "+ label map": lens.early_action,
        "+ neutral labels": lens.early_action,
        CONTROLLED: partial(
            controlled, m5.CLAIM, "share of layers", "share of layers", "by the word"
        ),
    },
    "M6": {
        PUBLISHED: partial(lens.late_word, column=lens.WHOLE),
        "+ first token": lens.late_word,
        "+ order": lens.late_word,
        "+ label map": lens.late_action,
        "+ neutral labels": lens.late_action,
        CONTROLLED: partial(controlled, m6.CLAIM, "logits", "action part", "word part"),
    },
    "M7": {
        PUBLISHED: steering.published_words,
        "+ order": steering.published_words,
        "+ label map": steering.published_parts,
        "+ neutral labels": steering.label_direction,
        "+ held out, baselines": steering.beyond_random,
        CONTROLLED: partial(controlled, m7.CLAIM, "change of P", "change", "random up to"),
    },
}
"""Claim -> its protocol."""


def rows_of(rung: Rung, prompts: pd.DataFrame) -> pd.DataFrame:
    """Return the prompts that a rung takes.

    Parameters
    ----------
    rung : Rung
    prompts : DataFrame
        The prompts table, without dropped ones.
    """
    chosen = pd.Series(True, index=prompts.index)
    for column, value in rung.takes.items():
        chosen &= prompts[column] == value
    rows = prompts[chosen]
    return (
        rows[rows["template"] == rows["template"].iloc[0]]
        if rung.one_template and len(rows)
        else rows
    )
