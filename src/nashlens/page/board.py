"""The first screen: a sentence for each model, the board of claims and models, and the ladder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import pandas as pd

from nashlens.findings.claim import ALL_MODELS
from nashlens.findings.protocols import CONTROLLED, PUBLISHED, RUNGS
from nashlens.page.method import method_of
from nashlens.page.study import StudyTables
from nashlens.page.words import (
    MINUS,
    VERDICTS,
    Verdict,
    interval,
    known,
    number,
    slug,
    text,
    verdict,
)

QUESTION = (
    "Do language models compute the Nash action of a game, and then suppress it in their last"
    " layers?"
)
HEADLINE = "M6"
"""The claim that answers the question: a late override."""
OTHERS = "pairs and families"
"""Heading of the column of subjects that are no single model."""


class Ending(NamedTuple):
    """What one protocol concludes of the headline claim."""

    protocol: str
    verdict: Verdict
    why: str
    """What follows the verdict in the sentence: the number in brackets, and what speaks for it."""


class Sentence(NamedTuple):
    """What was found of one model."""

    model: str
    endings: list[Ending]
    """As published, where that was asked, and with controls; none without a finding of it."""
    counts: list[tuple[int, Verdict]]
    """Its controlled verdicts on all claims, with how many there are of each."""
    ladder: tuple[int, int, int] | None
    """Claims with a ladder, and of these supported as published, and controlled."""


class BoardCell(NamedTuple):
    """A verdict of the board or the ladder."""

    verdict: Verdict
    anchor: str
    tip: str
    number: str = ""
    subjects: int = 1
    """How many subjects it stands for."""


class BoardRow(NamedTuple):
    """One claim of the board."""

    claim: str
    title: str
    statement: str
    anchor: str
    cells: list[list[BoardCell]]
    """For each column, its verdicts; empty where the claim is not about it."""


class LadderRow(NamedTuple):
    """One claim and model of the ladder."""

    claim: str
    title: str
    model: str
    anchor: str
    cells: list[BoardCell | None]
    """For each rung; None where the rung adds nothing for the claim."""


def anchor_of(claim: str, subject: str = "") -> str:
    """Return the id of a claim's section, or of a subject in it."""
    return slug(claim, subject) if subject else slug(claim)


def sentences(study: StudyTables) -> list[Sentence]:
    """Return what was found of each model, as published and controlled."""
    ladder = study.table("ladder")
    return [_sentence(study, ladder, model) for model in study.models]


def _sentence(study: StudyTables, ladder: pd.DataFrame | None, model: str) -> Sentence:
    findings = study.findings[study.findings["model"] == model]
    names = Counter(findings["verdict"])
    counts = [(names[shown.name], shown) for shown in VERDICTS.values() if names[shown.name]]
    endings, climbed = [], None
    rungs = None if ladder is None else ladder[ladder["model"] == model]
    if rungs is not None and len(rungs):
        published = rungs[(rungs["name"] == PUBLISHED) & rungs["estimate"].notna()]
        final = dict(zip(findings["claim"], findings["verdict"], strict=True))
        climbed = (
            len(published),
            int((published["concludes"] == "supported").sum()),
            sum(final.get(claim) == "supported" for claim in published["claim"]),
        )
        for row in published[published["claim"] == HEADLINE].to_dict("records"):
            endings.append(Ending("as published", verdict(row["concludes"]), _why(row)))
    for row in findings[findings["claim"] == HEADLINE].to_dict("records"):
        endings.append(
            Ending("with controls", verdict(row["verdict"]), _controlled_why(row, rungs))
        )
    return Sentence(model, endings, counts, climbed)


def _why(row: dict[Any, Any]) -> str:
    short, because = text(row["short"]), text(row["because"])
    return (f" ({short})" if short else "") + (f", {because}" if because else "")


def _controlled_why(finding: dict[Any, Any], rungs: pd.DataFrame | None) -> str:
    """Say in few words why: as the ladder's last rung does where it concludes the same."""
    if rungs is not None:
        last = rungs[(rungs["claim"] == finding["claim"]) & (rungs["name"] == CONTROLLED)]
        for row in last.to_dict("records"):
            if row["concludes"] == finding["verdict"] and _why(row):
                return _why(row)
    # Of a reason, the sentence that decides: the others tell what would have been found.
    first, _, _ = text(finding["reason"]).rstrip(".").partition(". ")
    return f", {first}" if first else ""


def board(study: StudyTables) -> tuple[list[str], list[BoardRow]]:
    """Return the board's columns and rows.

    Columns are the models, and one more for pairs and families where a claim is about these.
    """
    findings = study.findings
    models = study.models
    others = findings[~findings["model"].isin(models)]
    columns = [*models, *([OTHERS] if len(others) else [])]
    rows = []
    for claim, part in findings.groupby("claim", sort=False):
        cells = [_cells(part[part["model"] == model]) for model in models]
        if len(others):
            cells.append(_cells(part[~part["model"].isin(models)]))
        method = method_of(str(claim))
        rows.append(
            BoardRow(
                claim=str(claim),
                title=method.title if method else "",
                statement=text(part["statement"].iloc[0]),
                anchor=anchor_of(str(claim)),
                cells=cells,
            )
        )
    return columns, rows


def _cells(part: pd.DataFrame) -> list[BoardCell]:
    """Return one cell for each verdict, the subjects that have it counted."""
    found = []
    for name, same in part.groupby("verdict", sort=False):
        first = same.iloc[0]
        tips = [f"{row.model}: {text(row.reason)}" for row in same.itertuples()]
        anchor = anchor_of(str(first["claim"]), str(first["model"]))
        found.append(BoardCell(verdict(name), anchor, "\n".join(tips), subjects=len(same)))
    return found


def ladder(study: StudyTables) -> tuple[list[tuple[str, str]], list[LadderRow]]:
    """Return the rungs (name and what each adds), and a row for each claim and model."""
    table = study.table("ladder")
    if table is None or no_ladder(study):
        return [], []
    by_number = table.drop_duplicates("rung").sort_values("rung")
    names = dict(zip(by_number["name"], by_number["adds"], strict=True))
    rungs = {name: names[name] for name in (*RUNGS, *names) if name in names}
    rows = []
    for (claim, model), part in table.groupby(["claim", "model"], sort=False):
        found = {row["name"]: _rung(row) for row in part.to_dict("records")}
        method = method_of(str(claim))
        rows.append(
            LadderRow(
                claim=str(claim),
                title=method.title if method else "",
                model=str(model),
                anchor=anchor_of(str(claim), str(model)),
                cells=[found.get(name) for name in rungs],
            )
        )
    order = {row["claim"]: i for i, row in enumerate(table.to_dict("records"))}
    rows.sort(key=lambda row: order[row.claim])
    return list(rungs.items()), rows


def _rung(row: dict[Any, Any]) -> BoardCell:
    has = known(row["estimate"])
    bounds = interval(row["ci_low"], row["ci_high"])
    said = [f"{number(row['estimate'])} {bounds} {text(row['unit'])}" if has else "not judged"]
    said += [text(row["control"]), text(row["reason"])]
    return BoardCell(
        verdict=verdict(row["concludes"]),
        anchor=anchor_of(str(row["claim"]), str(row["model"])),
        tip="\n".join(part for part in said if part.strip()),
        number=f"{float(row['estimate']):.2f}".replace("-", MINUS) if has else "",
    )


def no_ladder(study: StudyTables) -> str:
    """Say why there is no ladder; nothing where there is one."""
    table = study.table("ladder")
    if table is not None and table.loc[table["name"] == PUBLISHED, "estimate"].notna().any():
        return ""
    return (
        "No ladder: no prompt has the games' own words as labels, which the published protocol"
        " needs (prompts.label_sets: a set `words: actions`)."
    )


def subjects(rows: Iterable[Any], models: list[str]) -> list[str]:
    """Return subjects in the order of reading: all models first, then models, then the rest."""
    order = [ALL_MODELS, *models]
    names = list(dict.fromkeys(rows))
    return sorted(names, key=lambda n: order.index(n) if n in order else len(order))
