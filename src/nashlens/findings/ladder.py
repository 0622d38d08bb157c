"""The ladder of a study: what each claim's protocols conclude, rung by rung."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from nashlens.findings.claim import JudgeSettings, Missing, Tables
from nashlens.findings.claims import CLAIMS
from nashlens.findings.judge import typed
from nashlens.findings.protocols import PROTOCOLS, PUBLISHED, RUNGS, Protocol, rows_of
from nashlens.findings.rungs.reading import LadderData, LoadRows, RungReading
from nashlens.kept import kept

COLUMNS = (
    *("claim", "model", "statement", "rung", "name", "adds"),
    *("estimate", "ci_low", "ci_high", "unit", "control", "n", "n_matches"),
    *("concludes", "because", "short", "reason"),
)
STATEMENTS = {claim.id: claim.statement for claim in CLAIMS}
_NO_WORDS = (
    "no prompt has the games' own words as labels: give prompts.label_sets a set `words: actions`"
)


def climb(
    tables: Tables,
    settings: JudgeSettings,
    *,
    residuals: LoadRows | None = None,
    protocols: Mapping[str, Protocol] = PROTOCOLS,
) -> pd.DataFrame:
    """Judge each claim on each of its rungs.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        `prompts`, `lens`, `probes` and `steering` of one model.
    settings : JudgeSettings
        Its subject is the model.
    residuals : callable, optional
        From a layer and rows of the prompts table to their stored residuals, for rungs that fit
        probes of their own.
    protocols : mapping of str to Protocol

    Returns
    -------
    DataFrame
        One row per claim and rung, columns `COLUMNS`. The controlled rung is the finding before the
        correction over all claims.
    """
    prompts = kept(tables["prompts"])
    if "label_kind" not in prompts.columns:
        prompts = prompts.assign(label_kind="neutral")
    data = LadderData({**tables, "prompts": prompts}, residuals)
    records = []
    for claim, protocol in protocols.items():
        for number, (name, rung) in enumerate(RUNGS.items()):
            if name not in protocol:
                continue
            rows = rows_of(rung, prompts)
            found = protocol[name](data, rows, settings) if len(rows) else Missing(_NO_WORDS)
            records.append(
                {"claim": claim, "model": settings.subject, "statement": STATEMENTS[claim]}
                | {"rung": number, "name": name, "adds": rung.adds}
                | _columns(found)
            )
    ladder = pd.DataFrame.from_records(records, columns=list(COLUMNS))
    # A rung's control is a text.
    typed_ladder = typed(ladder, COLUMNS, ("estimate", "ci_low", "ci_high"))
    return typed_ladder.astype({"rung": "int64"})


def _columns(found: RungReading | Missing) -> dict[str, Any]:
    if isinstance(found, Missing):
        return {
            "concludes": found.verdict,
            "reason": found.reason,
            "because": "",
            "short": "",
            "unit": "",
        }
    return {
        "estimate": found.estimate,
        "ci_low": found.low,
        "ci_high": found.high,
        "unit": found.unit,
        "control": found.control,
        "n": found.n,
        "n_matches": found.n_matches,
        "concludes": found.concludes,
        "because": found.because,
        "short": found.short,
        "reason": found.reason,
    }


def published(ladder: pd.DataFrame | None, findings: pd.DataFrame) -> pd.DataFrame:
    """Return findings with a column `published`.

    It says what the published rung concludes, with its number; it is empty where a claim has no
    ladder, or that rung no estimate.

    Parameters
    ----------
    ladder : DataFrame or None
        From `climb`, of all models; None without one.
    findings : DataFrame
    """
    rows = [] if ladder is None else ladder[ladder["estimate"].notna()].to_dict("records")
    said = {
        (row["claim"], row["model"]): f"as published: {row['concludes']} ({row['short']})"
        for row in rows
        if row["name"] == PUBLISHED
    }
    keys = zip(findings["claim"], findings["model"], strict=True)
    column = [said.get(key, "") for key in keys]
    # It stands after the paper's own figure.
    place = list(findings.columns).index("paper") + 1
    findings = findings.copy()
    findings.insert(place, "published", column)
    return findings
