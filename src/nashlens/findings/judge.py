"""From tables to the findings table: measure, decide, and correct over the family of claims."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

import numpy as np
import pandas as pd

from nashlens.findings.claim import (
    Claim,
    Evidence,
    JudgeSettings,
    Missing,
    Tables,
    decide,
)
from nashlens.findings.claims import ALL_CLAIMS, CLAIMS
from nashlens.findings.conditions import as_text, at_most, with_condition
from nashlens.findings.detectable import said_with_power, smallest_effect
from nashlens.kept import kept, neutral
from nashlens.steering.spike_summary import with_spike, worth
from nashlens.vocabulary.stages import left_out_by

SPIKED = ("spike_found", "spike_unit", "spike_false")
"""What effects put into the model say (`nashlens.steering.spike_summary.worth`)."""
NOT_BEYOND = "not beyond chance after correction over all claims"
"""What a claim becomes inconclusive by that its rule supports."""
Q_WORDS = "q-value: the p-value after correction over all claims"
LEFT_OUT = "left out"
"""How the reason begins where the config leaves out a claim's stage."""
COLUMNS = (
    "claim",
    "model",
    "statement",
    "measure",
    "unit",
    "estimate",
    "ci_low",
    "ci_high",
    "n",
    "n_matches",
    "control",
    "control_measure",
    "p_value",
    "q_value",
    "detectable",
    *SPIKED,
    "verdict",
    "reason",
    "sensitivity",
    "fragile",
    "paper",
    "tables",
    "conditions",
    "detail",
)
_FLOATS = ("estimate", "ci_low", "ci_high", "control", "p_value", "detectable", "whole_estimate")


def judge(
    tables: Tables, settings: JudgeSettings, claims: Sequence[Claim[Any]] = CLAIMS
) -> pd.DataFrame:
    """Judge every claim, before the correction over the family.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        What the claims read (`Claim.tables`); an absent or empty one makes its claims
        `not_applicable`. For `CLAIMS` those of one model. For `PLAY_CLAIMS` `matches`, `games`,
        `models` (`nashlens.models.table.models_table`) and so on; some rows of `matches` (of one
        template, say) are judged as all of them would be. For `LINEAGE_CLAIMS` `lens` and `prompts`
        of all models, each with `model`, and `models`.
    settings : JudgeSettings
        Its subject is the model, or `ALL_MODELS` for claims that are not about one.
    claims : sequence of Claim

    Returns
    -------
    DataFrame
        One row per claim and subject: the findings table of docs/reference/results.md but for
        `q_value` and what `sensitivity.attach` adds. The column `model` names the subject: a model,
        a pair `a--b` (`base--trained`), `NAME family`, or all models. Degenerate data give
        `inconclusive` or `not_applicable` with a reason, never an error.
    """
    present = dict(tables)
    if "prompts" in present and "dropped" in present["prompts"].columns:
        present["prompts"] = neutral(kept(present["prompts"]))
    inputs: dict[Any, Any] = {}
    rows = [
        _row(claim, subject, found, settings.confidence)
        for claim in claims
        for subject, found in _evidence(claim, present, settings, inputs)
    ]
    later = ("q_value", *SPIKED, "sensitivity", "fragile")
    return typed(pd.DataFrame.from_records(rows), [c for c in COLUMNS if c not in later])


def _evidence(
    claim: Claim[Any], tables: Tables, settings: JudgeSettings, inputs: dict[Any, Any]
) -> Iterator[tuple[str, Evidence | Missing]]:
    """Yield each subject of a claim with its evidence; `inputs` keeps what claims share."""
    subject = settings.subject
    for name in claim.tables:
        if name not in tables or tables[name].empty:
            yield subject, Missing(_absence(claim, name, name in tables))
            return
    if claim.reads not in inputs:
        inputs[claim.reads] = claim.reads(tables)
    found = claim.estimate(inputs[claim.reads], settings)
    if claim.about == "model":
        yield subject, found
    else:
        yield from found


def _absence(claim: Claim[Any], table: str, given: bool) -> str:
    """Say why a claim's table has nothing to read."""
    key = None if given else left_out_by(table)
    if key is not None:
        return f"{LEFT_OUT}: {key} is null in the config"
    return f"the {table} table has no row{' for this model' if claim.about == 'model' else ''}"


def _row(
    claim: Claim[Any], subject: str, found: Evidence | Missing, confidence: float
) -> dict[str, object]:
    decision = decide(claim, found)
    row: dict[str, object] = {
        "claim": claim.id,
        "model": subject,
        "statement": claim.statement,
        "measure": claim.measure,
        "unit": claim.unit,
        "control_measure": claim.control,
        "paper": claim.paper,
        "tables": ", ".join(claim.tables),
        "verdict": decision.verdict,
        "reason": decision.reason,
        "conditions": as_text(decision.cases),
    }
    if isinstance(found, Missing):
        return {**row, "detail": "{}"}
    return {
        **row,
        "estimate": found.estimate,
        "ci_low": found.low,
        "ci_high": found.high,
        "n": found.n,
        "n_matches": found.n_matches,
        "control": found.control,
        "p_value": found.p_value,
        "detectable": smallest_effect(found, confidence),
        "detail": json.dumps(_plain(found.detail()), sort_keys=True, allow_nan=False),
    }


def _plain(value: Any) -> Any:
    """Return plain Python for JSON: NaN becomes None, floats keep 6 significant digits."""
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(v) for v in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(f"{value:.6g}") if np.isfinite(value) else None
    return value


def typed(
    records: pd.DataFrame, columns: Sequence[str], floats: Sequence[str] = _FLOATS
) -> pd.DataFrame:
    """Return some columns of findings, each with its type; one that nothing has is missing."""
    frame = records.reindex(columns=list(columns))
    counts = ["n", "n_matches"]
    frame[counts] = frame[counts].astype("Float64").astype("Int64")
    return frame.astype({name: "float64" for name in columns if name in floats})


def false_discovery(p_values: np.ndarray) -> np.ndarray:
    """Return q-values of a family of p-values (Benjamini and Hochberg 1995).

    NaN marks what was not tested: it is no part of the family, and its q-value is NaN.
    """
    from scipy.stats import false_discovery_control  # a second to import, for one job

    q = np.full(len(p_values), np.nan)
    tested = ~np.isnan(p_values)
    if tested.any():
        q[tested] = false_discovery_control(p_values[tested])
    return q


def combine(
    frames: Sequence[pd.DataFrame], q_value: float, *, spikes: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Join all findings, and correct over the whole family of claims.

    Parameters
    ----------
    frames : sequence of DataFrame
        From `judge`, one a model, one of lineages and one of play, with `sensitivity` and
        `fragile` where `attach` added them.
    q_value : float
        False-discovery rate: a supported claim with a larger q-value becomes inconclusive.
    spikes : DataFrame, optional
        From `nashlens.steering.spike_summary.summarise_spikes`, of all models.

    Returns
    -------
    DataFrame
        The findings table, claims in their order and models in theirs.
    """
    joined = typed(pd.concat(list(frames), ignore_index=True), COLUMNS)
    said = ["sensitivity", "fragile"]
    joined[said] = joined[said].astype(object).fillna("")
    joined["q_value"] = false_discovery(joined["p_value"].to_numpy(dtype=float))
    # NaN compares as false, and so does not survive either.
    lost = (joined["verdict"] == "supported") & ~(joined["q_value"] <= q_value)
    joined["conditions"] = [
        with_condition(text, at_most(Q_WORDS, q, q_value), NOT_BEYOND) if asked else text
        for text, q, asked in zip(
            joined["conditions"].astype(object).fillna(""),
            joined["q_value"],
            joined["verdict"] == "supported",
            strict=True,
        )
    ]
    joined.loc[lost, "verdict"] = "inconclusive"
    joined["reason"] = [
        f"{reason}; {NOT_BEYOND} (q = {q:.2g})" if no else reason
        for reason, q, no in zip(joined["reason"], joined["q_value"], lost, strict=True)
    ]
    by_id = {claim.id: claim for claim in ALL_CLAIMS}
    joined["reason"] = [
        said_with_power(reason, verdict, detectable, by_id.get(claim))
        for reason, verdict, detectable, claim in zip(
            joined["reason"],
            joined["verdict"],
            joined["detectable"],
            joined["claim"],
            strict=True,
        )
    ]
    joined = _with_spikes(joined, spikes)
    order = {claim: i for i, claim in enumerate(dict.fromkeys(joined["claim"]))}
    return joined.sort_values(
        "claim", key=lambda names: names.map(order), kind="stable"
    ).reset_index(drop=True)


def _with_spikes(findings: pd.DataFrame, summary: pd.DataFrame | None) -> pd.DataFrame:
    """Add what effects put into the models say of each verdict."""
    findings[list(SPIKED)] = np.nan
    findings["spike_unit"] = ""
    if summary is None:
        return findings
    for _, one in worth(summary).iterrows():
        mine = (findings["claim"] == one["claim"]) & (findings["model"] == one["model"])
        mine &= findings["verdict"].ne("not_applicable")
        findings.loc[mine, list(SPIKED)] = [one[name] for name in SPIKED]
        findings.loc[mine, "reason"] = [
            with_spike(text, one) for text in findings.loc[mine, "reason"]
        ]
    return findings
