"""Several experiments on one page: findings side by side, and what differs in their configs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from nashlens.errors import DataError
from nashlens.page.html import fill_template
from nashlens.page.words import Verdict, interval, known, number, text, verdict
from nashlens.tables import read_metadata, read_table

ABSENT = "not in its tables"
_NOT_THERE = object()


class Experiment(NamedTuple):
    """One of the experiments."""

    name: str
    findings: pd.DataFrame
    config: Mapping[str, Any]
    """The config that its tables were made from, as they record it."""


class Found(NamedTuple):
    """A finding of one experiment."""

    verdict: Verdict
    numbers: str
    reason: str


class ComparedRow(NamedTuple):
    """One claim and subject, in each experiment; None where it has none."""

    claim: str
    subject: str
    statement: str
    found: list[Found | None]
    changed: bool
    """Whether two experiments have different verdicts."""


class Difference(NamedTuple):
    """A key of the config with each experiment's value."""

    key: str
    values_of: list[str]
    """In the order of the experiments."""


def read_experiment(folder: str | Path) -> Experiment:
    """Read an experiment's findings, and what its tables say that they were made from.

    Parameters
    ----------
    folder : path
        `results/NAME`.

    Raises
    ------
    StoreError
        If a table is damaged, or there are no findings.
    """
    folder = Path(folder)
    findings = read_table(folder / "findings.parquet")
    config: dict[str, Any] = {}
    for path in sorted(folder.rglob("*.parquet")):
        _merge(config, read_metadata(path)["config"])
    return Experiment(folder.name, findings, config)


def _merge(into: dict[str, Any], other: Mapping[str, Any]) -> None:
    for key, value in other.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = json.loads(json.dumps(value))


def build_comparison(experiments: Sequence[Experiment], question: str) -> str:
    """Return the page: one HTML text that needs no other file and no network.

    Parameters
    ----------
    experiments : sequence of Experiment
        Two or more.
    question : str
        What they ask.

    Raises
    ------
    DataError
        If there are fewer than two.
    """
    if len(experiments) < 2:
        raise DataError(
            "compare: needs two experiments or more; name them:"
            ' --config experiments="[default, mine]"'
        )
    rows = compare(experiments)
    return fill_template(
        "compare.html.j2",
        question=question,
        names=[one.name for one in experiments],
        rows=rows,
        changed=[row for row in rows if row.changed],
        differences=differences(experiments),
    )


def compare(experiments: Sequence[Experiment]) -> list[ComparedRow]:
    """Return every claim and subject of any experiment, in the order of the findings."""
    tables = [
        {(str(row["claim"]), str(row["model"])): row for row in one.findings.to_dict("records")}
        for one in experiments
    ]
    order = {claim: i for i, claim in enumerate(dict.fromkeys(k[0] for t in tables for k in t))}
    keys = sorted(dict.fromkeys(k for t in tables for k in t), key=lambda key: order[key[0]])
    rows = []
    for claim, subject in keys:
        given = [table.get((claim, subject)) for table in tables]
        found = [None if row is None else _found(row) for row in given]
        verdicts = {one.verdict.name for one in found if one is not None}
        statement = next(text(row["statement"]) for row in given if row is not None)
        rows.append(ComparedRow(claim, subject, statement, found, len(verdicts) > 1))
    return rows


def _found(row: Mapping[Any, Any]) -> Found:
    numbers = "none"
    if known(row["estimate"]):
        bounds = interval(row["ci_low"], row["ci_high"])
        numbers = f"{number(row['estimate'])} {bounds} {text(row['unit'])}, n {number(row['n'])}"
    return Found(verdict(row["verdict"]), numbers, text(row["reason"]))


def differences(experiments: Sequence[Experiment]) -> list[Difference]:
    """Return the keys of the configs whose values are not the same in all experiments.

    A section that one of them lacks altogether is one row.
    """
    return list(_differing([one.config for one in experiments], ""))


def _differing(values: Sequence[Any], key: str) -> Iterator[Difference]:
    if all(isinstance(value, Mapping) for value in values):
        for name in sorted({name for value in values for name in value}):
            inner = [value.get(name, _NOT_THERE) for value in values]
            yield from _differing(inner, f"{key}.{name}" if key else name)
        return
    shown = [_shown(value) for value in values]
    if len(set(shown)) > 1:
        yield Difference(key, shown)


def _shown(value: Any) -> str:
    if value is _NOT_THERE:
        return ABSENT
    return json.dumps(_set(value), ensure_ascii=False)


def _set(value: Any) -> Any:
    """Return a section without the keys that are not set."""
    if not isinstance(value, Mapping):
        return value
    kept = {name: _set(inner) for name, inner in value.items() if inner is not None}
    return {name: inner for name, inner in kept.items() if inner != {}}
