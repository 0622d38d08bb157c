"""From tables to the findings table: measure, decide, and correct over the family of claims."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control

from nashlens.findings.claim import Claim, Evidence
from nashlens.findings.claims import CLAIMS as NEW
from nashlens.findings.claims import PLAY_CLAIMS
from nashlens.findings.decisions import Verdict
from nashlens.findings.estimators import ESTIMATORS
from nashlens.findings.legacy import CLAIMS as OLD
from nashlens.findings.legacy import Claim as OldClaim
from nashlens.findings.measurement import Measurement, Missing, Settings, clean
from nashlens.findings.shared.field import ALL_MODELS, PlayField
from nashlens.findings.verdicts import decide
from nashlens.kept import kept

AnyClaim = Claim[Any] | OldClaim
_ALL: list[AnyClaim] = [*OLD, *NEW]
CLAIMS = tuple({claim.id: claim for claim in _ALL}.values())

COLUMNS = (
    "claim",
    "model",
    "statement",
    "measure",
    "estimate",
    "ci_low",
    "ci_high",
    "n",
    "n_matches",
    "control",
    "control_measure",
    "p_value",
    "q_value",
    "verdict",
    "reason",
    "sensitivity",
    "fragile",
    "paper",
    "tables",
    "detail",
)
_FLOATS = ["estimate", "ci_low", "ci_high", "control", "p_value"]
_COUNTS = ["n", "n_matches"]


def _measure(
    claim: AnyClaim, tables: Mapping[str, pd.DataFrame], settings: Settings
) -> Measurement | Evidence | Missing:
    if isinstance(claim, OldClaim) and claim.missing:
        return Missing(claim.missing)
    for name in claim.tables:
        if name not in tables or tables[name].empty:
            return Missing(f"the {name} table has no row for this model")
    if isinstance(claim, Claim):
        found: Evidence | Missing = claim.estimate(tables, settings)
        return found
    return ESTIMATORS[claim.id](tables, settings)


def decided(claim: Claim[Any], found: Evidence | Missing) -> Verdict:
    """Apply a claim's rule; without a full interval (and a p-value) nothing is decided."""
    if isinstance(found, Missing):
        return Verdict(found.verdict, found.reason)
    needed = [found.estimate, found.low, found.high, *[found.p_value] * found.needs_p]
    if not np.isfinite(needed).all():
        return Verdict(
            "inconclusive",
            f"estimate {found.estimate:.2f} from {found.n_matches} matches: too few for an"
            " interval",
        )
    outcome = claim.rule(found)
    return Verdict(outcome.verdict, claim.reason(found, outcome))


def claim_row(
    claim: AnyClaim, subject: str, found: Measurement | Evidence | Missing, verdict: Verdict
) -> dict[str, object]:
    """Return a claim's row of the findings table about a model, or whatever it is about."""
    row: dict[str, object] = {
        "claim": claim.id,
        "model": subject,
        "statement": claim.statement,
        "measure": claim.measure,
        "control_measure": claim.control if isinstance(claim, Claim) else claim.control_measure,
        "paper": claim.paper,
        "tables": ", ".join(claim.tables),
        "verdict": verdict.verdict,
        "reason": verdict.reason,
    }
    if isinstance(found, Missing):
        return {**row, "detail": "{}"}
    detail = found.detail() if isinstance(found, Evidence) else found.detail
    return {
        **row,
        "estimate": found.estimate,
        "ci_low": found.low,
        "ci_high": found.high,
        "n": found.n,
        "n_matches": found.n_matches,
        "control": found.control,
        "p_value": found.p_value,
        "detail": json.dumps(clean(detail), sort_keys=True, allow_nan=False),
    }


def judge(
    tables: Mapping[str, pd.DataFrame],
    *,
    model: str,
    confidence: float,
    bootstrap: int,
    late_fraction: float,
    min_label_mass: float,
    seed: int,
    claims: Sequence[AnyClaim] | None = None,
) -> pd.DataFrame:
    """Judge every claim about one model, before the correction over the family.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        `prompts`, `probes`, `lens` and `steering` of this model; an absent or empty one makes
        its claims `not_applicable`.
    model : str
        Name for the table, and for the random streams.
    confidence : float
        Coverage of the intervals.
    bootstrap : int
        Resamples of matches.
    late_fraction : float
        Share of the layers, from the top, that counts as late.
    min_label_mass : float
        Median label mass below which a layer of the lens is unreliable.
    seed : int
        The experiment's seed.
    claims : sequence of Claim, optional
        All of `CLAIMS` by default.

    Returns
    -------
    DataFrame
        One row per claim: the findings table of docs/reference/results.md but for `q_value` and
        what `sensitivity.attach` adds. Degenerate data give `inconclusive` or `not_applicable`
        with a reason, never an error.
    """
    settings = Settings(model, confidence, bootstrap, seed, late_fraction, min_label_mass)
    present = dict(tables)
    if "prompts" in present and "dropped" in present["prompts"].columns:
        present["prompts"] = kept(present["prompts"])
    rows = []
    for claim in CLAIMS if claims is None else claims:
        found = _measure(claim, present, settings)
        if isinstance(claim, Claim):
            verdict = decided(claim, found)  # type: ignore[arg-type]
        else:
            verdict = decide(claim.id, found, settings)  # type: ignore[arg-type]
        rows.append(claim_row(claim, model, found, verdict))
    return table_of(rows)


def judge_play(
    tables: Mapping[str, pd.DataFrame],
    *,
    confidence: float,
    bootstrap: int,
    seed: int,
    claims: Sequence[Claim[Any]] = PLAY_CLAIMS,
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
        As `judge`, one row per claim and subject. The column `model` names the subject: a model, a
        pair `a--b`, `NAME family`, or all models.
    """
    settings = Settings(ALL_MODELS, confidence, bootstrap, seed)
    field = PlayField(tables)
    rows = []
    for claim in claims:
        empty = next((name for name in claim.tables if tables[name].empty), None)
        if empty is not None:
            found = iter([(ALL_MODELS, Missing(f"the {empty} table has no row"))])
        else:
            found = claim.estimate(field, settings)
        rows += [claim_row(claim, subject, one, decided(claim, one)) for subject, one in found]
    return table_of(rows)


def table_of(rows: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    """Return rows of `claim_row` as a table, before the correction over the family."""
    later = ("q_value", "sensitivity", "fragile")
    return _typed(pd.DataFrame.from_records(list(rows)), [c for c in COLUMNS if c not in later])


def _typed(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    frame = frame.reindex(columns=list(columns))
    frame[_FLOATS] = frame[_FLOATS].astype(np.float64)
    frame[_COUNTS] = frame[_COUNTS].astype("Float64").astype("Int64")
    return frame


def false_discovery(p_values: np.ndarray) -> np.ndarray:
    """Return q-values of a family of p-values (Benjamini and Hochberg 1995).

    NaN marks what was not tested: it is no part of the family, and its q-value is NaN.
    """
    q = np.full(len(p_values), np.nan)
    tested = ~np.isnan(p_values)
    if tested.any():
        q[tested] = false_discovery_control(p_values[tested])
    return q


def combine(frames: Sequence[pd.DataFrame], q_value: float) -> pd.DataFrame:
    """Join the findings of all models and of play, and correct over the whole family.

    Parameters
    ----------
    frames : sequence of DataFrame
        From `judge`, one a model, and from `judge_play`, one for all of play, with
        `sensitivity` and `fragile` where `attach` added them.
    q_value : float
        False-discovery rate: a supported claim with a larger q-value becomes inconclusive.

    Returns
    -------
    DataFrame
        The findings table, claims in their order and models in theirs.
    """
    joined = _typed(pd.concat(list(frames), ignore_index=True), COLUMNS)
    said = ["sensitivity", "fragile"]
    joined[said] = joined[said].astype(object).fillna("")
    joined["q_value"] = false_discovery(joined["p_value"].to_numpy(dtype=float))
    # NaN compares as false, and so does not survive either.
    lost = (joined["verdict"] == "supported") & ~(joined["q_value"] <= q_value)
    joined.loc[lost, "verdict"] = "inconclusive"
    joined["reason"] = [
        f"{reason}; not beyond chance after correction over all claims (q = {q:.2g})"
        if no
        else reason
        for reason, q, no in zip(joined["reason"], joined["q_value"], lost, strict=True)
    ]
    order = {claim: i for i, claim in enumerate(dict.fromkeys(joined["claim"]))}
    return joined.sort_values(
        "claim", key=lambda names: names.map(order), kind="stable"
    ).reset_index(drop=True)
