"""From matches to the rows of the claims about play, which join the findings of all models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from nashlens.findings.claims import Claim
from nashlens.findings.estimators.play import PLAY_ESTIMATORS
from nashlens.findings.estimators.play.field import ALL, Field
from nashlens.findings.judge import claim_row, table_of
from nashlens.findings.measurement import Measurement, Missing, Settings
from nashlens.findings.play_claims import PLAY_CLAIMS
from nashlens.findings.play_verdicts import decide


def judge_play(
    tables: Mapping[str, pd.DataFrame],
    *,
    confidence: float,
    bootstrap: int,
    seed: int,
    claims: Sequence[Claim] = PLAY_CLAIMS,
) -> pd.DataFrame:
    """Judge every claim about play, before the correction over the family.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        `matches`, `games` and `models` (`nashlens.models.table.models_table`). Some rows of
        `matches` (of one template, say) are judged as all of them would be.
    confidence : float
        Coverage of the intervals.
    bootstrap : int
        Resamples of matches.
    seed : int
        The experiment's seed.
    claims : sequence of Claim
        All of `PLAY_CLAIMS` by default.

    Returns
    -------
    DataFrame
        As `judge.judge`, one row per claim and subject. The column `model` names the subject: a
        model, a pair `a--b`, `NAME family`, or all models.
    """
    base = Settings(ALL, confidence, bootstrap, seed)
    field = Field(tables)
    rows = []
    for claim in claims:
        for subject, found in _found(claim, tables, field, base):
            rows.append(claim_row(claim, subject, found, decide(claim.id, found)))
    return table_of(rows)


def _found(
    claim: Claim, tables: Mapping[str, pd.DataFrame], field: Field, settings: Settings
) -> list[tuple[str, Measurement | Missing]]:
    for name in claim.tables:
        if tables[name].empty:
            return [(ALL, Missing(f"the {name} table has no row"))]
    return list(PLAY_ESTIMATORS[claim.id](field, settings))
