"""The charts of the claims: rows of tables of estimates, as they stand."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pandas as pd

from nashlens.circuits.readings import ARMS
from nashlens.page import marks
from nashlens.page.marks import Picture, picture
from nashlens.page.study import StudyTables
from nashlens.page.words import known, number, verdict
from nashlens.play.responses import by_block
from nashlens.vocabulary.patching import EXACT

Draw = Callable[[StudyTables], Picture]
MOST_ROWS = 2000
"""Rows of a table that one chart shows; instead of one with more the page says where they are."""


class TooManyRowsError(Exception):
    """A chart would show more rows than it may."""


class NoRowsError(Exception):
    """The tables have no row for a chart."""


def charts_of(study: StudyTables, claim: str) -> list[Picture]:
    """Return the charts of a claim that the tables have rows for."""
    found = []
    for draw in (partial(_parts, claim=claim), CHARTS[claim]):
        try:
            found.append(draw(study))
        except TooManyRowsError as error:
            found.append(Picture({}, "", f"No chart: {error}", "", ()))
        except NoRowsError:
            continue
    return found


def _select(study: StudyTables, name: str, **wanted: Any) -> pd.DataFrame:
    """Return a table's rows that have, by column, a value, one of several, or none (None)."""
    table = study.table(name)
    if table is None:
        raise NoRowsError
    for column, value in wanted.items():
        values = value if isinstance(value, tuple) else (value,)
        table = table[table[column].isna() if value is None else table[column].isin(values)]
    return table


def _few(rows: pd.DataFrame, table: str) -> pd.DataFrame:
    """Return rows that have an estimate, where there are some and a chart can show them all."""
    rows = rows[rows["estimate"].notna()]
    if len(rows) > MOST_ROWS:
        raise TooManyRowsError(f"it would have {len(rows):,} rows of the table {table}")
    if rows.empty:
        raise NoRowsError
    return rows


def _rows(study: StudyTables, name: str, **wanted: Any) -> pd.DataFrame:
    """Return `_few` of what `_select` returns."""
    return _few(_select(study, name, **wanted), name)


def _facet(rows: pd.DataFrame) -> str | None:
    """Return the column of models where there are several."""
    return "model" if rows["model"].nunique() > 1 else None


def _parts(study: StudyTables, claim: str) -> Picture:
    """Draw a claim's estimates, of all data and of each part, with controls."""
    columns = ["model", "estimate", "ci_low", "ci_high", "control", "n", "n_matches", "verdict"]
    whole = study.findings[study.findings["claim"] == claim]
    unit = next((str(unit) for unit in whole["unit"] if known(unit)), "")
    parts = study.tables["sensitivity"]
    parts = parts[(parts["claim"] == claim) & (parts["factor"] != "bootstrap")]
    level = parts["factor"].astype(str) + ": " + parts["level"].astype(str)
    level = level.where(parts["factor"] != "half", parts["level"].astype(str))
    rows = pd.concat(
        [whole[columns].assign(part="all data"), parts[columns].assign(part=level)],
        ignore_index=True,
    )
    rows = _few(rows, "sensitivity")
    rows = rows.assign(verdict=[verdict(name).word for name in rows["verdict"]])
    chart = marks.dots(
        rows, "part", series="verdict", labels={"estimate": f"estimate ({unit})"},
        control=True, facet="model", verdicts=True,
    )  # fmt: skip
    said = [
        f"{row['model']}, {row['part']}: {number(row['estimate'])}, {row['verdict']}"
        for row in rows[rows["part"] == "all data"].to_dict("records")
    ]
    title = "Estimate on all data and on parts of them; grey ticks: control"
    return picture(chart, title, f"{claim}. {'; '.join(said)}", "findings", "sensitivity")


def _probes(*targets: str) -> Draw:
    def draw(study: StudyTables) -> Picture:
        wanted = {"split": "match", "position": "decision", "status": "ok"}
        rows = _select(study, "probes", target=targets, **wanted)
        keys = {"estimate": "balanced_accuracy", "ci_low": "ci_low", "ci_high": "ci_high"}
        series = [
            rows[["model", "layer", "n"]].assign(
                of=rows["target"], **{new: rows[old] for new, old in keys.items()}
            )
        ]
        baselines = {"permutation_high": "labels permuted", "bag_of_words": "words of the prompt"}
        for column, name in baselines.items():
            of = f"{name}: " + rows["target"].astype(str)
            series.append(rows[["model", "layer"]].assign(estimate=rows[column], of=of))
        return _over_layers(
            pd.concat(series, ignore_index=True), "balanced accuracy", 0.5,
            "What probes decode at each layer, with what permuted labels and words reach",
            "probes",
        )  # fmt: skip

    return draw


def _effects(quantity: str, *parts: str) -> Draw:
    def draw(study: StudyTables) -> Picture:
        wanted = {"quantity": quantity, "part": parts, "lens": "logit", "game": None}
        rows = _select(study, "effects", **wanted)
        rows = rows.assign(of=rows["part"].astype(str) + " part")
        title = f"Lens, by layer: logit of {quantity}, parted within blocks"
        return _over_layers(rows, f"logit of {quantity}", 0.0, title, "effects")

    return draw


def _over_layers(rows: pd.DataFrame, what: str, at: float, title: str, table: str) -> Picture:
    rows = _few(rows, table)
    labels = {"layer": "layer", "estimate": what, "of": ""}
    chart = marks.lines(rows, "layer", series="of", labels=labels, at=at, facet=_facet(rows))
    return picture(chart, title, _ends(rows, "layer", "of", what), table)


def _ends(rows: pd.DataFrame, x: str, series: str, what: str) -> str:
    """Say in words where each series starts and ends."""
    said = []
    for (model, name), part in rows.groupby(["model", series], sort=False):
        ordered = part.sort_values(x)
        first, last = ordered.iloc[0], ordered.iloc[-1]
        said.append(
            f"{model}, {name}: {number(first['estimate'])} at {x} {number(first[x])},"
            f" {number(last['estimate'])} at {x} {number(last[x])}"
        )
    return f"{what}. {'; '.join(said)}"


def _steering(kind: str) -> Draw:
    def draw(study: StudyTables) -> Picture:
        wanted = {"quantity": "response", "part": "action", "words": "all", "game": None}
        rows = _rows(study, "steering_summary", kind=kind, **wanted)
        x = "alpha" if kind == "add" else "clamped to (standard deviations)"
        rows = rows.assign(layers="layer " + rows["layers"].astype(str))
        labels = {"value": x, "estimate": "P(action 1), action part", "direction": ""}
        chart = marks.lines(
            rows, "value", series="direction", labels=labels, facet=_facet(rows),
            column="layers", small=True,
        )  # fmt: skip
        what = "added directions" if kind == "add" else "clamped values"
        words = _ends(rows, "value", "direction", "P(action 1), action part")
        return picture(chart, f"Response to {what}, on held-out games", words, "steering_summary")

    return draw


def _choir(study: StudyTables) -> Picture:
    rows = _rows(study, "choir", quantity="curve")
    labels = {"size": "late components ablated", "estimate": "Nash action gains (logits)"}
    rows = rows.assign(of=rows["order"].map({"chosen": "largest writers first"}).fillna("random"))
    labels["of"] = ""
    chart = marks.lines(rows, "size", series="of", labels=labels, at=0.0, facet=_facet(rows))
    title = "What ablating late components gives back to the Nash action"
    return picture(chart, title, _ends(rows, "size", "of", labels["estimate"]), "choir")


def _heads(study: StudyTables) -> Picture:
    kinds = "candidate", "random"
    rows = _rows(study, "heads_summary", quantity="action_part", kind=kinds)
    labels = {"estimate": "what ablation costs the Nash action (logits)", "kind": ""}
    arms = [ARMS[arm] for arm in zip(rows["component"], rows["positions"], strict=True)]
    rows = rows.assign(group=rows["ablation"].astype(str), arm=arms)
    if _facet(rows):
        rows["arm"] = rows["model"].astype(str) + ", " + rows["arm"]
    chart = marks.dots(rows, "group", series="kind", labels=labels, at=0.0, facet="arm")
    words = "; ".join(
        f"{row['model']}, {row['arm']}, {row['group']}: {number(row['estimate'])}"
        for row in rows.to_dict("records")
    )
    return picture(chart, "The candidate heads and MLPs, and random ones like them", words,
                   "heads_summary")  # fmt: skip


def _patching(study: StudyTables) -> Picture:
    wanted = {"kind": "payoffs", "quantity": "action_part", "site": "residual"}
    rows = _select(study, "patching_summary", **wanted)
    if rows["direction"].nunique() > 1:
        rows = rows.assign(model=rows["model"].astype(str) + ", " + rows["direction"].astype(str))
    every = rows
    rows = _few(rows[rows["method"] == EXACT], "patching_summary")
    chart = marks.heat(rows, x="group", y="layer", facet="model", title="logits")
    best = rows.loc[rows.groupby("model")["estimate"].idxmax()].to_dict("records")
    words = "; ".join(
        f"{row['model']}: most at layer {number(row['layer'])}, {row['group']},"
        f" {number(row['estimate'])}"
        for row in best
    )
    if len(every) > len(rows):
        words += f". {len(rows)} of {len(every)} places were patched; the others were only screened"
        words += _ranked(study)
    title = "What the other prompt's residual, with other payoffs, does to the answer"
    return picture(chart, title, f"Action part in logits. {words}", "patching_summary")


def _ranked(study: StudyTables) -> str:
    """Say how well gradients rank patches that were drawn at random."""
    wanted = {"quantity": "rank_correlation", "kind": "payoffs", "patch": "random"}
    ranking = _select(study, "patching_summary", **wanted).dropna(subset="estimate")
    said = "; ".join(
        f"{row['model']}, {row['direction']}: {number(row['estimate'])}"
        f" [{number(row['ci_low'])}, {number(row['ci_high'])}] over {row['patches']} patches"
        for row in ranking.to_dict("records")
    )
    return f" (rank correlation of both in random ones: {said})" if said else ""


def _metrics(measure: str, what: str, pairing: str = "self_play", term: str | None = None) -> Draw:
    def draw(study: StudyTables) -> Picture:
        wanted = {"measure": measure, "pairing": pairing, "term": term}
        rows = _select(study, "metrics", move_order="simultaneous", **wanted)
        rows = _few(rows.dropna(subset=["model", "opponent"]), "metrics")
        if pairing != "self_play":
            pair = rows["agent"].astype(str) + " with " + rows["opponent"].astype(str)
            rows = rows.assign(agent=pair)
        labels = {"estimate": what, "agent": ""}
        chart = marks.dots(rows, "game", series="agent", labels=labels, control=True)
        said = "; ".join(
            f"{row['agent']}, {row['game']}: {number(row['estimate'])}"
            for row in rows.to_dict("records")[:40]
        )
        kind = pairing.replace("_", "-")
        return picture(chart, f"{what}, in {kind}, by game; grey ticks: control", said, "metrics")

    return draw


def _beliefs(study: StudyTables) -> Picture:
    rows = by_block(_select(study, "beliefs")).rename(columns={"p_action_1": "estimate"})
    rows = _few(rows, "beliefs")
    best = {0: "action 0 is the best response", 1: "action 1 is the best response"}
    rows = rows.assign(best_response=rows["best_response"].astype(int).map(best))
    rows = rows.sort_values("best_response", kind="stable")
    labels = {
        "belief": "stated belief: P(the other takes action 1)",
        "estimate": "own P(action 1)",
        "best_response": "",
    }
    chart = marks.points(rows, "belief", series="best_response", labels=labels, facet=_facet(rows))
    said = "; ".join(
        f"{model}, where {what}: {number(part['estimate'].mean())} over {len(part)} histories"
        for (model, what), part in rows.groupby(["model", "best_response"], sort=False)
    )
    title = "What is expected of the other, and what is done: a point a history, over its forms"
    return picture(chart, title, f"Mean own P(action 1). {said}", "beliefs")


def _steered(quantity: str, what: str) -> Draw:
    def draw(study: StudyTables) -> Picture:
        rows = _rows(study, "steered_summary", quantity=quantity)
        labels = {"dose": "dose", "estimate": what, "player": ""}
        chart = marks.lines(rows, "dose", series="player", labels=labels, facet=_facet(rows))
        words = _ends(rows, "dose", "player", what)
        return picture(chart, f"{what}, by dose", words, "steered_summary")

    return draw


_OVERRIDE = _effects("prosocial over Nash", "action", "word")
CHARTS: dict[str, Draw] = {
    "M1": _probes("opponent_last"),
    "M2": _probes("opponent_last"),
    "M3": _probes("nash_label", "nash_place"),
    "M4": _heads,
    "M5": _effects("Nash over other", "action", "word"),
    "M6": _OVERRIDE,
    "M7": _steering("add"),
    "M8": _steering("clamp"),
    "M9": _choir,
    "M10": _choir,
    "M11": _patching,
    "B1": _metrics("lock_rate", "share of matches that lock"),
    "B2": _metrics("nash_tv", "Nash distance"),
    "B3": _metrics("nash_tv", "Nash distance"),
    "B4": _metrics("nash_tv", "Nash distance"),
    "B5": _metrics("nash_tv", "Nash distance"),
    "B6": _metrics("nash_tv_rounds", "Nash distance in the last third", term="last third"),
    "B7": _beliefs,
    "X1": _metrics("unravelling", "change of cooperation", "cross_play", "change"),
    "X2": _metrics("cooperation", "cooperation", "cross_play"),
    "X3": _metrics("equilibrium_selection", "equilibrium reached"),
    "S1": _steered("cooperation", "cooperation"),
    "S2": _steered("quiz_accuracy", "quiz accuracy"),
    "S3": _steered("partner_cooperation", "cooperation of the partner"),
    "C1": _OVERRIDE,
    "C2": _OVERRIDE,
}
"""Claim -> what draws the numbers behind it."""
