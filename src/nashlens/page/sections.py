"""A section per claim: what it says, what was found, how, by which rule, and from which row."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import pandas as pd
import yaml

from nashlens.page.board import BoardCell, anchor_of, subjects
from nashlens.page.method import CLAIMS, Method, method_of
from nashlens.page.study import StudyTables, TableSource
from nashlens.page.walk import Walk, walk
from nashlens.page.words import SIGNS, Verdict, interval, known, number, text, verdict
from nashlens.prompts.dropped import dropped_pairs

PLAY, LINEAGE, MODEL = "play_findings", "lineage_findings", "model_findings"
"""Tables in which a finding was judged, before the correction over all claims."""
ABOUT = {"model": MODEL, "play": PLAY, "lineage": LINEAGE}


class NumberRead(NamedTuple):
    """One number that the rule read."""

    name: str
    means: str
    value: str


class Part(NamedTuple):
    """The claim judged on a part of the data."""

    level: str
    sign: str
    agreement: str
    verdict: Verdict
    numbers: str
    reason: str


class Origin(NamedTuple):
    """Where a number comes from."""

    table: str
    row: str
    made_by: TableSource | None
    config: str
    """The slice of the config, as YAML."""
    reads: list[tuple[str, str]]
    """Tables that the claim reads, each with its file."""
    command: str
    code: str
    """Python that reads the row."""


class Subject(NamedTuple):
    """One finding: a claim about one model, pair or family."""

    name: str
    anchor: str
    verdict: Verdict
    numbers: list[NumberRead]
    """Estimate, n, control, what would have been found, spikes."""
    published: str
    reason: str
    fragile: str
    walk: Walk | None
    """The rule with its numbers; None where the finding states no conditions."""
    detail: list[NumberRead]
    strips: list[tuple[str, list[Part]]]
    """Factor -> its parts."""
    origin: Origin


class ClaimSection(NamedTuple):
    """One claim."""

    claim: str
    anchor: str
    title: str
    statement: str
    paper: str
    measure: str
    control: str
    supported: str
    contradicted: str
    method: Method | None
    subjects: list[Subject]
    cells: list[BoardCell]


def sections(study: StudyTables) -> list[ClaimSection]:
    """Return a section for each claim of the findings, in their order."""
    return [
        _section(study, str(claim), part)
        for claim, part in study.findings.groupby("claim", sort=False)
    ]


def _section(study: StudyTables, claim_id: str, rows: pd.DataFrame) -> ClaimSection:
    first, claim, method = rows.iloc[0], CLAIMS.get(claim_id), method_of(claim_id)
    order = subjects(rows["model"], study.models)
    by_name = {str(row["model"]): row for _, row in rows.iterrows()}
    found = [_subject(study, by_name[name], method) for name in order]
    return ClaimSection(
        claim=claim_id,
        anchor=anchor_of(claim_id),
        title=method.title if method else "",
        statement=text(first["statement"]),
        paper=text(first["paper"]),
        measure=text(first["measure"]),
        control=text(first["control_measure"]),
        supported=claim.supported if claim else "",
        contradicted=claim.contradicted if claim else "",
        method=method,
        subjects=found,
        cells=[BoardCell(one.verdict, one.anchor, one.name) for one in found],
    )


def _subject(study: StudyTables, row: pd.Series, method: Method | None) -> Subject:
    claim, name = str(row["claim"]), str(row["model"])
    return Subject(
        name=name,
        anchor=anchor_of(claim, name),
        verdict=verdict(row["verdict"]),
        numbers=[*_numbers(row), *_pairs(study, row)],
        published=text(row.get("published")),
        reason=text(row["reason"]),
        fragile=text(row["fragile"]),
        walk=walk(text(row.get("conditions"))),
        detail=_detail(text(row["detail"]), method),
        strips=_strips(study, claim, name),
        origin=_origin(study, row),
    )


def _numbers(row: pd.Series) -> list[NumberRead]:
    """Return the columns of the findings that are numbers; those that are missing say so."""
    unit = text(row["unit"])
    estimate = f"{number(row['estimate'])} {interval(row['ci_low'], row['ci_high'])}".strip()
    found = [NumberRead("estimate", text(row["measure"]), f"{estimate} {unit}")]
    if known(row["n"]):
        counts = f"{number(row['n'])} from {number(row['n_matches'])} matches or histories"
        found.append(NumberRead("n", "observations, and what they come from", counts))
    if known(row["control"]):
        found.append(NumberRead("control", text(row["control_measure"]), number(row["control"])))
    if known(row["detectable"]):
        means = "the smallest effect that this study would have found four times in five"
        found.append(NumberRead("smallest detectable", means, number(row["detectable"])))
    if known(row["p_value"]):
        means = "one-sided; q is corrected over all judged claims"
        both = f"p {number(row['p_value'])}, q {number(row['q_value'])}"
        found.append(NumberRead("p and q", means, both))
    if put := _put_in(row):
        means = (
            "the smallest known effect put into this model that is found four times in five, where"
            " the model lacks the verdict without it"
        )
        found.append(NumberRead("spike-in found", means, put))
    if known(row["spike_false"]):
        means = "largest share of these draws in which an effect of the wrong kind got this verdict"
        found.append(NumberRead("spike-in mistaken", means, number(row["spike_false"])))
    if not known(row["estimate"]):
        found[0] = NumberRead("estimate", text(row["measure"]), "none: see the reason")
    return found


def _put_in(row: pd.Series) -> str:
    """Return which effect put into the model is found; nothing where the claim has none."""
    unit = text(row["spike_unit"])
    if not unit:
        return ""
    if not known(row["spike_found"]):
        return "no need: in most draws the model has the verdict without it"
    smallest = float(row["spike_found"])
    return "none" if smallest == float("inf") else f"{number(smallest)} {unit}"


def _pairs(study: StudyTables, row: pd.Series) -> list[NumberRead]:
    """Return how many pairs of prompts were dropped, where a claim is about pairs."""
    claim, table = CLAIMS.get(str(row["claim"])), study.table("pairs")
    if table is None or claim is None or "patching" not in claim.tables:
        return []
    mine = dropped_pairs(table[table["model"] == row["model"]])
    means = "prompts that could not be compared token by token; blocks with one are left out"
    said = "; ".join(f"{kind}: {counts}" for kind, counts in mine.items())
    return [NumberRead("pairs dropped", means, said)] if said else []


def _detail(detail: str, method: Method | None) -> list[NumberRead]:
    values: Mapping[str, Any] = json.loads(detail or "{}")
    means = method.fields if method else {}
    # In the order of the module, where a bound follows what it bounds.
    names = [*(name for name in means if name in values), *(n for n in values if n not in means)]
    return [
        NumberRead(name.replace("_", " "), means.get(name, ""), _value(values[name]))
        for name in names
    ]


def _value(value: Any) -> str:
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False)
    return number(value)


def _strips(study: StudyTables, claim: str, name: str) -> list[tuple[str, list[Part]]]:
    table = study.tables["sensitivity"]
    rows = table[(table["claim"] == claim) & (table["model"] == name)]
    return [
        (str(factor), [_part(row) for row in part.to_dict("records")])
        for factor, part in rows.groupby("factor", sort=False)
    ]


def _part(row: dict[Any, Any]) -> Part:
    agreement = text(row["agreement"])
    numbers = f"{number(row['estimate'])} {interval(row['ci_low'], row['ci_high'])}".strip()
    return Part(
        level=text(row["level"]) or "all",
        sign=SIGNS.get(agreement, "·"),
        agreement=agreement.replace("_", " "),
        verdict=verdict(row["verdict"]),
        numbers=numbers,
        reason=text(row["reason"]),
    )


def _origin(study: StudyTables, row: pd.Series) -> Origin:
    claim, name = str(row["claim"]), str(row["model"])
    known_claim = CLAIMS.get(claim)
    table = ABOUT[known_claim.about] if known_claim else MODEL
    made_by = _source_of(study, table, name)
    whole = study.sources.get("findings", ())
    path = whole[0].path if whole else "findings.parquet"
    position = study.findings.index.get_loc(row.name)
    reads = [part.strip() for part in text(row["tables"]).split(",") if part.strip()]
    return Origin(
        table=path,
        row=f"row {position} (claim == {claim!r}, model == {name!r})",
        made_by=made_by,
        config=_yaml(made_by.config) if made_by else "",
        reads=[(one, _file_of(study, one, name)) for one in reads],
        # Judged anew, and then corrected over all claims: the second alone makes the row.
        command=study.command.again(*([made_by.path] if made_by else []), path),
        code=(
            "import nashlens\n"
            f"study = nashlens.open({PurePosixPath(path).parent.as_posix()!r})\n"
            f"study.findings.query({f'claim == {claim!r} and model == {name!r}'!r}).T"
        ),
    )


def _source_of(study: StudyTables, table: str, model: str) -> TableSource | None:
    """Return the file of a table that is about a model: its own one, or the only one."""
    files = study.sources.get(table, ())
    own = [one for one in files if PurePosixPath(one.path).stem == model]
    if own:
        return own[0]
    return files[0] if len(files) == 1 else None


def _file_of(study: StudyTables, table: str, model: str) -> str:
    found = _source_of(study, table, model)
    if found is not None:
        return f"{found.path}, fingerprint {found.fingerprint}{found.made_on}"
    files = study.sources.get(table, ())
    if files:
        return ", ".join(one.path for one in files)
    return "results/models/MODEL/manifest.json" if table == "models" else "left out by the config"


def _yaml(config: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(config), sort_keys=True, allow_unicode=True) if config else "{}\n"
