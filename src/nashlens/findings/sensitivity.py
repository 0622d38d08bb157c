"""How far each verdict hangs on the template, the label set and the seed.

Each claim is judged again, by the same estimator and the same rule, on the part of the data with
one template alone, with one label set alone, on each of two random halves of the matches, and on
all data with other bootstrap numbers. What a part says is then held against what all data say:

- **agrees**: the same verdict;
- **weaker**: the whole decides, the part is inconclusive, and their intervals meet. A part has less
  data, so that is to be expected and speaks against nothing;
- **decides**: the whole is inconclusive, the part is not, and their intervals meet;
- **differs**: one of the two is inconclusive, but their intervals have no value in common. (That a
  part's interval leaves the whole's *estimate* out would be too little: a share of layers or a
  largest layer is nearer to chance in a noisier part, whatever the truth.) The part's is widened to
  Student's t before where it is a percentile bootstrap, as those of few matches are too narrow
  (`Claim.interval`);
- **reverses**: one supports the claim, the other contradicts it;
- **not_judged**: the part holds too little for an estimate and its interval, or the factor has one
  level alone.

A factor makes a claim *fragile* where a level reverses or differs, or where two of its levels reach
opposite verdicts, or different ones on intervals that have no value in common.

Verdicts here are those of the rules, before the correction over the family of claims: a family is
what was asked of all data.

Everything is generic in the claims: whoever has claims, the tables they read, and a judge for them
can ask for their sensitivity.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import t as student

from nashlens.findings.claim import Claim, Tables
from nashlens.kept import kept
from nashlens.parts import FACTORS, RESAMPLES, WITHIN, members
from nashlens.seeds import stream

Judge = Callable[..., pd.DataFrame]
"""`judge(tables, claims=[claim], seed=seed, bootstrap=resamples)` -> rows of the findings table."""
Restrict = Callable[[Claim, Tables, str, int], "dict[str, dict[str, pd.DataFrame]]"]
"""(claim, tables, factor, seed) -> tables of each level."""

PARTS = "_parts"
"""Ending of a table that holds what another one has of each factor and level: aggregates cannot be
restricted by their rows."""
FIXED = ("games", "models")
"""Tables about no match: what they say holds in every part, and every judge gets them whole."""
DECIDED = ("supported", "contradicted")
AGREEMENTS = ("agrees", "weaker", "decides", "differs", "reverses", "not_judged")
LEAST_MATCHES = 6
"""Matches from which on a part can differ: of fewer, that all point one way is a two-sided p of
2 * 2^-5 = 0.06 or more, however narrow their bootstrap."""
_MEASURED = ["estimate", "ci_low", "ci_high", "n", "n_matches", "control", "p_value"]
_JUDGED = [*_MEASURED, "verdict", "reason"]
COLUMNS = (
    *("claim", "model", "factor", "level"),
    *_JUDGED,
    *("interval", "whole_estimate", "whole_verdict", "agreement"),
)


def restrict(
    claim: Claim, tables: Tables, factor: str, seed: int
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
        Level -> tables. Nothing where no table knows the factor, or one can not be restricted.
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
            # Aggregates name the levels where they stand alone.
            if level in chosen or not rows:
                chosen.setdefault(level, {})[name] = here[here["level"] == level]
    return {level: fixed | some for level, some in chosen.items() if len(some) == len(own)}


def _restrict_rows(tables: Tables, factor: str, seed: int) -> dict[str, dict[str, pd.DataFrame]]:
    if not tables:
        return {}
    # The table that says most about the design is asked which match belongs where.
    known = max(tables.values(), key=lambda t: sum(c in t.columns for c in (factor, *WITHIN)))
    if "dropped" in known.columns:
        known = kept(known)
    found: dict[str, dict[str, pd.DataFrame]] = {}
    for level, mask in members(known, factor, seed).items():
        if factor == "bootstrap":
            found[level] = dict(tables)
            continue
        matches = set(known.loc[mask, "match_id"])
        # The heads table has a `half` of its own, where heads are chosen and tested.
        found[level] = {
            name: table[table[factor] == level]
            if factor != "half" and factor in table.columns
            else table[table["match_id"].isin(matches)]
            for name, table in tables.items()
        }
    return found


def sensitivity(
    findings: pd.DataFrame,
    tables: Tables,
    judge: Judge,
    *,
    claims: Sequence[Claim],
    seed: int,
    bootstrap: int,
    restrict: Restrict = restrict,
) -> pd.DataFrame:
    """Judge claims again on parts of the data.

    Parameters
    ----------
    findings : DataFrame
        What the judge says of all data, one row for each claim and model.
    tables : mapping of str to DataFrame
        What the judge was given, and `NAME_parts` for aggregates.
    judge : callable
        `judge(tables, claims=..., seed=..., bootstrap=...)` gives rows of the findings table.
    claims : sequence of Claim
    seed : int
        The experiment's seed.
    bootstrap : int
        Resamples for all data; parts take at most `RESAMPLES` of them.
    restrict : callable, optional
        Gives the tables of each level of a factor.

    Returns
    -------
    DataFrame
        One row for each claim, model, factor and level, columns `COLUMNS`. A factor without
        levels has one row, `not_judged`, whose level is empty.
    """
    records: list[dict[str, object]] = []
    for claim in claims:
        whole = findings[findings["claim"] == claim.id]
        for factor in FACTORS:
            levels = restrict(claim, tables, factor, seed)
            if len(levels) < 2:
                level, reason = _nothing(levels, factor)
                records += [
                    _unjudged(claim, row, factor, level, reason) for _, row in whole.iterrows()
                ]
                continue
            for level, some in levels.items():
                again = judge(
                    some,
                    claims=[claim],
                    seed=_seed(seed, factor, level),
                    bootstrap=min(bootstrap, RESAMPLES),
                ).set_index("model")
                records += [
                    _compared(claim, row, again.loc[row["model"]], factor, level)
                    if row["model"] in again.index
                    else _unjudged(claim, row, factor, level, "nothing about it in this part")
                    for _, row in whole.iterrows()
                ]
    return _typed(pd.DataFrame.from_records(records, columns=list(COLUMNS)))


def _seed(seed: int, factor: str, level: str) -> int:
    """Return the judge's seed: another one for each draw of the bootstrap, else the same."""
    if factor != "bootstrap":
        return seed
    return int(stream(seed, "parts", factor, level).integers(2**32))


def _nothing(levels: Mapping[str, object], factor: str) -> tuple[str, str]:
    name = factor.replace("_", " ")
    if not levels:
        return "", f"the tables of this claim cannot be parted by {name}"
    return next(iter(levels)), f"one {name} only: nothing to compare"


def _unjudged(
    claim: Claim, row: pd.Series, factor: str, level: str, reason: str
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
    claim: Claim, row: pd.Series, part: pd.Series, factor: str, level: str
) -> dict[str, object]:
    return {
        **_unjudged(claim, row, factor, level, ""),
        **{name: part[name] for name in _JUDGED},
        "agreement": agreement(row, part, claim.interval),
    }


def agreement(whole: pd.Series, part: pd.Series, interval: str = "percentile") -> str:
    """Say what a part's finding is to that of all data, as in this module's description.

    Parameters
    ----------
    whole, part : Series
        With `verdict`, `estimate`, `ci_low`, `ci_high`, `n_matches`.
    interval : str
        What the part's interval is, as `Claim.interval` has it.
    """
    if part[["estimate", "ci_low", "ci_high"]].isna().any():
        return "not_judged"
    ours, its = whole["verdict"], part["verdict"]
    if ours == its:
        return "agrees"
    if ours in DECIDED and its in DECIDED:
        return "reverses"
    if _apart(whole, part, interval):
        return "differs"
    return "weaker" if ours in DECIDED else "decides"


def _apart(whole: pd.Series, part: pd.Series, interval: str) -> bool:
    """Tell whether a part's interval misses that of all data."""
    low, high = _interval(part, interval)
    return bool(low > whole["ci_high"] or high < whole["ci_low"])


def _interval(part: pd.Series, interval: str) -> tuple[float, float]:
    """Return a part's interval, widened for its few matches where it does not allow for them.

    A percentile bootstrap of n clusters has the variance's divisor n, not n - 1, and a normal's
    tail instead of that of Student's t with n - 1 degrees of freedom: each arm is lengthened by the
    ratio of both. Fewer than `LEAST_MATCHES` leave nothing out.
    """
    n, wider = part["n_matches"], 1.0
    if pd.notna(n) and n < LEAST_MATCHES:
        return -np.inf, np.inf
    if pd.notna(n) and interval == "percentile":
        wider = float(student.isf(0.025, n - 1) / student.isf(0.025, np.inf)) * np.sqrt(n / (n - 1))
    return (
        part["estimate"] - wider * (part["estimate"] - part["ci_low"]),
        part["estimate"] + wider * (part["ci_high"] - part["estimate"]),
    )


def fragile(rows: pd.DataFrame) -> bool:
    """Tell whether a claim hangs on a factor, from the rows of its levels."""
    judged = rows[rows["agreement"] != "not_judged"]
    if judged["agreement"].isin(["differs", "reverses"]).any():
        return True
    levels = [(row["verdict"], *_interval(row, row["interval"])) for _, row in judged.iterrows()]
    for (one, low, high), (two, least, most) in combinations(levels, 2):
        apart = low > most or least > high
        if one != two and (apart or {one, two} == set(DECIDED)):
            return True
    return False


def statement(rows: pd.DataFrame) -> str:
    """Return one factor's levels in words: `template 1/2 (named: reverses)`.

    That is how many agree of those that could be judged, and what the others do.
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


def attach(findings: pd.DataFrame, parts: pd.DataFrame) -> pd.DataFrame:
    """Add to findings what their parts say, in two columns.

    Parameters
    ----------
    findings : DataFrame
    parts : DataFrame
        From `sensitivity`.

    Returns
    -------
    DataFrame
        With `sensitivity`, a `statement` for each factor, and `fragile`, the factors that the
        claim hangs on; both empty where there is nothing to say.
    """
    said, hangs = [], []
    for _, row in findings.iterrows():
        own = parts[(parts["claim"] == row["claim"]) & (parts["model"] == row["model"])]
        factors = [rows for _, rows in own.groupby("factor", sort=False)]
        judged = (own["agreement"] != "not_judged").any()
        said.append("; ".join(statement(rows) for rows in factors) if judged else "")
        hangs.append(", ".join(rows["factor"].iloc[0] for rows in factors if fragile(rows)))
    return findings.assign(sensitivity=said, fragile=hangs)


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    counts = ["n", "n_matches"]
    floats = [name for name in (*_MEASURED, "whole_estimate") if name not in counts]
    frame[floats] = frame[floats].astype(np.float64)
    frame[counts] = frame[counts].astype("Float64").astype("Int64")
    return frame
