"""From matches to the rows of the claims about play, which join the findings of all models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from nashlens.findings.claim import Claim, Evidence
from nashlens.findings.claims import PLAY_CLAIMS as NEW
from nashlens.findings.estimators.play import PLAY_ESTIMATORS
from nashlens.findings.estimators.play.field import ALL, Field
from nashlens.findings.judge import AnyClaim, claim_row, decided, table_of
from nashlens.findings.measurement import Measurement, Missing, Settings
from nashlens.findings.play_claims import PLAY_CLAIMS as OLD
from nashlens.findings.play_verdicts import decide

_ALL: list[AnyClaim] = [*OLD, *NEW]
PLAY_CLAIMS = tuple({claim.id: claim for claim in _ALL}.values())


def judge_play(
    tables: Mapping[str, pd.DataFrame],
    *,
    confidence: float,
    bootstrap: int,
    seed: int,
    claims: Sequence[AnyClaim] = PLAY_CLAIMS,
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
            if isinstance(claim, Claim):  # noqa: SIM108
                verdict = decided(claim, found)  # type: ignore[arg-type]
            else:
                verdict = decide(claim.id, found)  # type: ignore[arg-type]
            rows.append(claim_row(claim, subject, found, verdict))
    return table_of(rows)


def _found(
    claim: AnyClaim, tables: Mapping[str, pd.DataFrame], field: Field, settings: Settings
) -> list[tuple[str, Measurement | Evidence | Missing]]:
    for name in claim.tables:
        if tables[name].empty:
            return [(ALL, Missing(f"the {name} table has no row"))]
    if isinstance(claim, Claim):
        return list(claim.estimate(field, settings))
    return list(PLAY_ESTIMATORS[claim.id](field, settings))
