"""How far each verdict depends on the template, the label set and the seed.

Each claim is judged again, by the same estimator and the same rule, on parts of the data: the
matches of one template, those of one label set, each of two random halves, and all data with other
bootstrap numbers. What a part says is then compared with what all data say:

- **agrees**: the same verdict;
- **weaker**: all data decide, the part is inconclusive, and their intervals meet. A part has less
  data, so that is to be expected and speaks against nothing;
- **decides**: all data are inconclusive, the part is not, and their intervals meet;
- **differs**: one of the two is inconclusive, and their intervals have no value in common. (That a
  part's interval leaves out the *estimate* of all data would be too little: a share of layers or a
  largest layer is nearer to chance in a noisier part, whatever the truth.) Percentile bootstraps of
  few matches are too narrow, so a part's is first widened to Student's t (`Claim.interval`);
- **reverses**: one supports the claim, the other contradicts it;
- **not_judged**: the part holds too little for an estimate and its interval, or the factor has one
  level only.

A factor makes a claim *fragile* where a level reverses or differs, or where two of its levels reach
opposite verdicts, or different ones on intervals that have no value in common.

Verdicts here are those of the rules, before the correction over the family of claims: a family is
what was asked of all data.

Nothing here is about particular claims: anything with claims and the tables that they read can have
its sensitivity.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations, product
from typing import Any

import numpy as np
import pandas as pd

from nashlens.contrasts import student_quantile
from nashlens.findings.claim import Claim, JudgeSettings, Tables
from nashlens.findings.judge import judge, typed
from nashlens.kept import kept, neutral
from nashlens.parts import FACTORS, RESAMPLES, WITHIN, members
from nashlens.seeds import stream

Claims = Sequence[Claim[Any]]

PARTS = "_parts"
"""Ending of a table that holds what another one has of each factor and level: aggregates cannot be
restricted by their rows."""
FIXED = ("games", "models", "steered_quiz", "steered_text")
"""Tables about no match: what they say holds in every part, and every judge gets them whole."""
DECIDED = ("supported", "contradicted")
AGREEMENTS = ("agrees", "weaker", "decides", "differs", "reverses", "not_judged")
LEAST_MATCHES = 6
"""Matches from which a part can differ: of fewer, that all point one way is a two-sided p of
2 * 2^-5 = 0.06 or more, however narrow their bootstrap."""
_JUDGED = (
    *("estimate", "ci_low", "ci_high", "n", "n_matches", "control", "p_value"),
    *("verdict", "reason"),
)
COLUMNS = (
    *("claim", "model", "factor", "level"),
    *_JUDGED,
    *("interval", "whole_estimate", "whole_verdict", "agreement"),
)


def judge_with_parts(
    tables: Tables, settings: JudgeSettings, claims: Claims
) -> dict[str, pd.DataFrame]:
    """Judge claims on all data and on parts of them.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        What the claims read, and `NAME_parts` for aggregates.
    settings : JudgeSettings
    claims : sequence of Claim

    Returns
    -------
    dict of str to DataFrame
        `findings`, with the columns of `attach`, and `sensitivity`.
    """
    found = judge(tables, settings, claims)
    parts = sensitivity(found, tables, settings, claims)
    return {"findings": attach(found, parts, settings.confidence), "sensitivity": parts}


def restrict(
    claim: Claim[Any], tables: Tables, factor: str, seed: int
) -> dict[str, dict[str, pd.DataFrame]]:
    """Return a claim's tables for each level of a factor.

    Tables are restricted by their rows: by the factor's own column, or where a table lacks it, to
    the matches that have it in the claim's other tables. A table `NAME` of aggregates comes with
    `NAME_parts`, which has its rows for each factor and level; those of `FIXED` stay whole.

    Parameters
    ----------
    claim : Claim
    tables : mapping of str to DataFrame
    factor : str
        One of `nashlens.parts.FACTORS`.
    seed : int

    Returns
    -------
    dict of str to dict of str to DataFrame
        Level -> tables. Nothing where no table has the factor, or one cannot be restricted.
    """
    fixed = {name: tables[name] for name in FIXED if name in tables}
    own = {name: tables[name] for name in claim.tables if name in tables and name not in FIXED}
    aggregates = {name: tables[name + PARTS] for name in own if name + PARTS in tables}
    rows = {name: table for name, table in own.items() if name not in aggregates}
    if any("match_id" not in table.columns for table in rows.values()):
        return {}
    chosen = _restrict_rows(rows, factor, seed)
    for name, parts in aggregates.items():
        here = parts[parts["factor"] == factor]
        for level in sorted(here["level"].unique()):
            # Where there are aggregates only, they name the levels.
            if level in chosen or not rows:
                chosen.setdefault(level, {})[name] = here[here["level"] == level]
    return {level: fixed | some for level, some in chosen.items() if len(some) == len(own)}


def _restrict_rows(tables: Tables, factor: str, seed: int) -> dict[str, dict[str, pd.DataFrame]]:
    if not tables:
        return {}
    # The table that says most about the design tells which match belongs where.
    known = max(tables.values(), key=lambda t: sum(c in t.columns for c in (factor, *WITHIN)))
    if "dropped" in known.columns:
        known = neutral(kept(known))
    found: dict[str, dict[str, pd.DataFrame]] = {}
    for level, mask in members(known, factor, seed).items():
        if factor == "bootstrap":
            found[level] = dict(tables)
            continue
        matches = set(known.loc[mask, "match_id"])
        found[level] = {
            name: table[table[factor] == level]
            if factor in table.columns
            else table[table["match_id"].isin(matches)]
            for name, table in tables.items()
        }
    return found


def sensitivity(
    findings: pd.DataFrame, tables: Tables, settings: JudgeSettings, claims: Claims
) -> pd.DataFrame:
    """Judge claims again on parts of the data.

    Parameters
    ----------
    findings : DataFrame
        What was judged of all data, one row for each claim and model.
    tables : mapping of str to DataFrame
        What the claims read, and `NAME_parts` for aggregates.
    settings : JudgeSettings
        As for all data; parts take at most `RESAMPLES` of their resamples.
    claims : sequence of Claim

    Returns
    -------
    DataFrame
        One row for each claim, model, factor and level, columns `COLUMNS`. A factor without
        levels has one row, `not_judged`, whose level is empty.
    """
    records: dict[str, list[dict[str, object]]] = {claim.id: [] for claim in claims}
    # Claims that read the same are judged together: their tables are cut and read once a part.
    together: dict[Any, list[Claim[Any]]] = {}
    for claim in claims:
        together.setdefault((tuple(claim.tables), claim.reads), []).append(claim)
    for some, factor in product(together.values(), FACTORS):
        levels = restrict(some[0], tables, factor, settings.seed)
        judged = {
            level: judge(part, _of_part(settings, factor, level), some).set_index(
                ["claim", "model"]
            )
            for level, part in levels.items()
            if len(levels) > 1
        }
        for claim in some:
            whole = findings[findings["claim"] == claim.id]
            if not judged:
                level, reason = _nothing(levels, factor)
                records[claim.id] += [
                    _unjudged(claim, row, factor, level, reason) for _, row in whole.iterrows()
                ]
            for level, again in judged.items():
                records[claim.id] += [
                    _compared(claim, row, again.loc[key], factor, level, settings.confidence)
                    if (key := (claim.id, row["model"])) in again.index
                    else _unjudged(claim, row, factor, level, "nothing about it in this part")
                    for _, row in whole.iterrows()
                ]
    every = [record for found in records.values() for record in found]
    return typed(pd.DataFrame.from_records(every, columns=list(COLUMNS)), COLUMNS)


def _of_part(settings: JudgeSettings, factor: str, level: str) -> JudgeSettings:
    """Return a part's settings, with another seed for each draw of the bootstrap."""
    seed = settings.seed
    if factor == "bootstrap":
        seed = int(stream(seed, "parts", factor, level).integers(2**32))
    return replace(settings, seed=seed, resamples=min(settings.resamples, RESAMPLES))


def _nothing(levels: Mapping[str, object], factor: str) -> tuple[str, str]:
    name = factor.replace("_", " ")
    if not levels:
        return "", f"the tables of this claim cannot be parted by {name}"
    return next(iter(levels)), f"one {name} only: nothing to compare"


def _unjudged(
    claim: Claim[Any], row: pd.Series, factor: str, level: str, reason: str
) -> dict[str, object]:
    return {
        "claim": row["claim"],
        "model": row["model"],
        "factor": factor,
        "level": level,
        "reason": reason,
        "verdict": "not_applicable",
        "interval": claim.interval,
        "whole_estimate": row["estimate"],
        "whole_verdict": row["verdict"],
        "agreement": "not_judged",
    }


def _compared(
    claim: Claim[Any],
    row: pd.Series,
    part: pd.Series,
    factor: str,
    level: str,
    confidence: float,
) -> dict[str, object]:
    return {
        **_unjudged(claim, row, factor, level, ""),
        **{name: part[name] for name in _JUDGED},
        "agreement": agreement(row, part, confidence, claim.interval),
    }


def agreement(
    whole: pd.Series, part: pd.Series, confidence: float, interval: str = "percentile"
) -> str:
    """Compare a part's finding with that of all data, in the words of this module's description.

    Parameters
    ----------
    whole, part : Series
        With `verdict`, `estimate`, `ci_low`, `ci_high`, `n_matches`.
    confidence : float
        Coverage of the intervals.
    interval : str
        Kind of the part's interval, as in `Claim.interval`.
    """
    if part[["estimate", "ci_low", "ci_high"]].isna().any():
        return "not_judged"
    ours, its = whole["verdict"], part["verdict"]
    if ours == its:
        return "agrees"
    if ours in DECIDED and its in DECIDED:
        return "reverses"
    low, high = _widened(part, confidence, interval)
    if low > whole["ci_high"] or high < whole["ci_low"]:
        return "differs"
    return "weaker" if ours in DECIDED else "decides"


def _widened(part: pd.Series, confidence: float, interval: str) -> tuple[float, float]:
    """Return a part's interval, widened where its kind does not allow for few matches.

    A percentile bootstrap of n clusters has the variance's divisor n, not n - 1, and a normal's
    tail, not that of Student's t with n - 1 degrees of freedom: each arm is lengthened by the ratio
    of both. Fewer than `LEAST_MATCHES` matches exclude nothing.
    """
    n, wider = part["n_matches"], 1.0
    if pd.notna(n) and n < LEAST_MATCHES:
        return -np.inf, np.inf
    if pd.notna(n) and interval == "percentile":
        tail = (1.0 - confidence) / 2.0
        ratio = student_quantile(tail, n - 1) / student_quantile(tail, np.inf)
        wider = ratio * np.sqrt(n / (n - 1))
    return (
        part["estimate"] - wider * (part["estimate"] - part["ci_low"]),
        part["estimate"] + wider * (part["ci_high"] - part["estimate"]),
    )


def fragile(rows: pd.DataFrame, confidence: float) -> bool:
    """Tell whether a claim depends on a factor, from the rows of its levels."""
    judged = rows[rows["agreement"] != "not_judged"]
    if judged["agreement"].isin(["differs", "reverses"]).any():
        return True
    levels = [
        (row["verdict"], *_widened(row, confidence, row["interval"]))
        for _, row in judged.iterrows()
    ]
    for (one, low, high), (two, least, most) in combinations(levels, 2):
        apart = low > most or least > high
        if one != two and (apart or {one, two} == set(DECIDED)):
            return True
    return False


def statement(rows: pd.DataFrame) -> str:
    """Return one factor's levels in words: `template 1/2 (named: reverses)`.

    It counts the levels that agree of those that could be judged, and says what the others do.
    """
    factor = rows["factor"].iloc[0]
    judged = rows[rows["agreement"] != "not_judged"]
    if judged.empty:
        return f"{factor} not judged"
    text = f"{factor} {int((judged['agreement'] == 'agrees').sum())}/{len(judged)}"
    others = [
        f"{' and '.join(here['level'])}: {what.replace('_', ' ')}"
        for what in AGREEMENTS[1:]
        for here in [rows[rows["agreement"] == what]]
        if len(here)
    ]
    return f"{text} ({', '.join(others)})" if others else text


def attach(findings: pd.DataFrame, parts: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Add to findings what their parts say, in two columns.

    Parameters
    ----------
    findings : DataFrame
    parts : DataFrame
        From `sensitivity`.
    confidence : float
        Coverage of the intervals.

    Returns
    -------
    DataFrame
        With `sensitivity`, a `statement` for each factor, and `fragile`, the factors that the
        claim depends on; both empty where there is nothing to say.
    """
    statements, depends = [], []
    for _, row in findings.iterrows():
        own = parts[(parts["claim"] == row["claim"]) & (parts["model"] == row["model"])]
        factors = [rows for _, rows in own.groupby("factor", sort=False)]
        judged = (own["agreement"] != "not_judged").any()
        statements.append("; ".join(statement(rows) for rows in factors) if judged else "")
        names = [rows["factor"].iloc[0] for rows in factors if fragile(rows, confidence)]
        depends.append(", ".join(names))
    return findings.assign(sensitivity=statements, fragile=depends)
