"""The findings at a glance: each claim with its estimate, control and verdict."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nashlens.figures import strips, style
from nashlens.figures.registry import Look

TITLE = "Findings: what the data say about each claim"
WIDTH = 10.0
"""Default width in inches."""
VERDICTS = {
    "supported": ("o", "supported"),
    "contradicted": ("X", "contradicted"),
    "inconclusive": ("D", "inconclusive"),
    "not_applicable": ("s", "not applicable"),
}
"""Verdict -> its marker and its text; colours come from the palette."""
# fmt: off
_COLUMNS = [
    "claim", "model", "statement", "measure", "estimate", "ci_low", "ci_high", "n", "n_matches",
    "control", "control_measure", "q_value", "detectable", "verdict", "reason", "paper", "fragile",
    "spike_found", "spike_unit", "spike_false",
]
# fmt: on
_SHORT = {"standard deviations": "SD"}
"""Units of spike-ins that have a shorter name."""
ESTIMATE = 1.3
"""Height in lines of an estimate, above its strips."""
_COLUMN_WIDTHS = {
    "claim, model and measure": 3.3,
    "estimate, interval and control": 2.4,
    "in numbers": 2.3,
    "verdict": 3.0,
}
"""Heading of a column -> its share of the width."""
_TEXT_WIDTH = 0.94
"""Share of the figure's width that the columns have."""
_LINE, _FRAME = 0.125, 1.25
"""Inches of one line of text, and of all that is above and below the rows."""
_BOLD, _NORMAL = 15.5, 18.0
"""Letters in an inch."""
_TOP, _CLAIM_GAP, _ROW_GAP = 0.4, 0.3, 0.5
"""Lines left free at the top, after a claim's texts and after its rows, and after each row."""


@style.figure(TITLE, findings=_COLUMNS, sensitivity=strips.COLUMNS)
def draw(findings: pd.DataFrame, sensitivity: pd.DataFrame, look: Look) -> Figure:
    """Draw one row for each claim and model.

    Estimates between -1 and 1 stand on a common axis. Others (layers, say) have no place on it
    and are given as numbers, as is the smallest effect that the study would have found four times
    in five, and the smallest that it found when it was put into the model. Under an estimate,
    strips of small marks show the same claim judged on parts of the data: on each template, each
    label set, each half of the matches. Claims that were not judged on parts have no strips.
    """
    if findings.empty:
        raise style.NothingToShowError("the findings table holds no row")
    width, ratios = look.width or WIDTH, list(_COLUMN_WIDTHS.values())
    inches = [width * _TEXT_WIDTH * share / sum(ratios) for share in ratios]
    blocks, total = _layout(findings, sensitivity, inches)
    color = style.colors(look.palette, ["not_applicable", "contradicted", "supported", "x"])
    color = {
        "supported": color["supported"],
        "contradicted": color["contradicted"],
        "inconclusive": color["not_applicable"],
        "not_applicable": (0.6, 0.6, 0.6),
    }
    figure, body = style.canvas(width, _FRAME + _LINE * total, TITLE)
    axes = body.subplots(1, 4, sharey=True, width_ratios=ratios)
    for ax, heading in zip(axes, _COLUMN_WIDTHS, strict=True):
        ax.set_title(heading)
        ax.set_ylim(total, 0)
        ax.grid(False)
        ax.spines[:].set_visible(False)
        ax.tick_params(left=False, labelleft=False)
    for ax in (axes[0], axes[2], axes[3]):
        ax.set_xlim(0, 1)
        ax.set_xticks([])
    _scale(axes[1], findings, sensitivity)
    for start, _, block in blocks:
        if block["kind"] == "claim":
            _write_claim(axes, start, block)
        else:
            _write_model(axes, start, block, color)
    style.legend(body, _legend_entries(color), columns=6)
    return figure


def _layout(
    findings: pd.DataFrame, sensitivity: pd.DataFrame, inches: list[float]
) -> tuple[list[tuple[float, float, dict[str, Any]]], float]:
    """Return blocks with their start and height in lines of text, and the total.

    A claim's block has what its models share; each model's row follows.
    """
    blocks: list[tuple[float, float, dict[str, Any]]] = []
    position = _TOP
    shared = ["claim", "statement", "measure", "control_measure", "paper"]
    order = {claim: index for index, claim in enumerate(dict.fromkeys(findings["claim"]))}
    ordered = findings.sort_values("claim", key=lambda c: c.map(order), kind="stable")
    for _, part in ordered.groupby(shared, sort=False, dropna=False):
        first = part.iloc[0]
        block = {
            "kind": "claim",
            "head": style.fit(f"{first['claim']}  {first['statement']}", inches[0], _BOLD),
            "what": "",
            "control": "",
            "paper": style.fit(
                f"Paper: {_text(first['paper']) or 'gives no figure'}", inches[3] - 0.3
            ),
        }
        # Where nothing was measured, how it would have been is not news: findings.csv has it.
        if part["estimate"].notna().any():
            measure = f"Measure: {_text(first['measure']) or 'none'}"
            control = f"Control: {_text(first['control_measure']) or 'none'}"
            block["what"] = style.fit(measure, inches[0] - 0.15)
            block["control"] = style.fit(control, inches[2] - 0.1)
        height = _CLAIM_GAP + max(
            _lines(block["head"]) + _lines(block["what"]),
            _lines(block["control"]),
            _lines(block["paper"]),
        )
        blocks.append((position, height, block))
        position += height
        for _, finding in part.iterrows():
            row = _entry(finding, sensitivity, inches, alone=len(part) == 1)
            height = _ROW_GAP + max(
                _lines(row["name"]),
                ESTIMATE + strips.LANE * len(strips.LANES) if row["striped"] else 0,
                _lines(row["numbers"]) + _lines(row["word"]),
                1 + _lines(row["why"]),
            )
            blocks.append((position, height, row))
            position += height
        position += _CLAIM_GAP
    return blocks, position


def _entry(
    finding: pd.Series, sensitivity: pd.DataFrame, inches: list[float], *, alone: bool
) -> dict[str, Any]:
    """Return a model's row: its columns, its parts, and its texts wrapped."""
    characters = int((inches[3] - 0.3) * 17 * (3 if alone else 2)) - 8
    reason = textwrap.shorten(_text(finding["reason"]), characters, placeholder=" …")
    same = (sensitivity["claim"] == finding["claim"]) & (sensitivity["model"] == finding["model"])
    parts = sensitivity[same]
    striped = len(strips.judged(parts)) > 0
    # The rule's own verdict, as the parts' are: the family's correction is none of theirs.
    whole = str(parts["whole_verdict"].iloc[0]) if len(parts) else ""
    word = strips.word(parts, whole, _text(finding["fragile"]))
    return {
        **{str(key): value for key, value in finding.items()},
        "kind": "model",
        "parts": parts,
        "striped": striped,
        # The strips' names stand at the right of the same column.
        "name": style.fit(str(finding["model"]), inches[0] - (1.3 if striped else 0.3)),
        "numbers": style.fit(_numbers(finding), inches[2] - 0.1),
        # Bold letters are wider.
        "word": style.fit(word, inches[2] - 0.1, _BOLD if _text(finding["fragile"]) else _NORMAL),
        "why": style.fit(reason, inches[3] - 0.3),
    }


def _lines(text: str) -> int:
    return text.count("\n") + 1 if text else 0


def _write_claim(axes: Any, start: float, block: dict[str, Any]) -> None:
    options: dict[str, Any] = {"fontsize": style.SMALL, "va": "top", "linespacing": 1.15}
    for ax in axes:
        ax.axhline(start - 0.25, color="0.4", linewidth=0.8)
    axes[0].text(0, start, block["head"], fontweight="bold", **options)
    axes[0].text(0.03, start + _lines(block["head"]), block["what"], color="0.25", **options)
    axes[2].text(0, start, block["control"], color="0.25", **options)
    axes[3].text(0.07, start, block["paper"], color="0.25", **options)


def _write_model(axes: Any, start: float, row: dict[str, Any], color: dict[str, tuple]) -> None:
    def mark(verdict: str) -> strips.Mark:
        return VERDICTS.get(verdict, ("P", verdict))[0], color.get(verdict, (0.3, 0.3, 0.3))

    verdict = str(row["verdict"])
    marker, shade = mark(verdict)
    options: dict[str, Any] = {"fontsize": style.SMALL, "va": "top", "linespacing": 1.15}
    for ax in axes:
        ax.axhline(start - 0.15, color="0.9", linewidth=0.6)
    axes[0].text(0.06, start, row["name"], **options)
    axes[2].text(0, start, row["numbers"], **options)
    weight = "bold" if _text(row["fragile"]) else "normal"
    below = start + _lines(row["numbers"])
    axes[2].text(0, below, row["word"], color="0.25", fontweight=weight, **options)
    axes[3].plot(0.025, start + 0.5, marker, color=shade, markersize=6, clip_on=False)
    text = VERDICTS.get(verdict, ("", verdict))[1]
    axes[3].text(0.07, start, text, color=shade, fontweight="bold", **options)
    axes[3].text(0.07, start + 1.05, row["why"], color="0.25", **options)
    _estimate(axes[1], start + 0.5 * ESTIMATE, row, marker, shade)
    if row["striped"]:
        strips.draw_strips(
            (axes[0], axes[1]), start + ESTIMATE, row["parts"], mark, common=_plottable(row)
        )


def _estimate(ax: Axes, at: float, row: dict[str, Any], marker: str, shade: Any) -> None:
    if _plottable(row):
        ax.hlines(at, row["ci_low"], row["ci_high"], color=shade, linewidth=1.8)
        ax.plot(row["estimate"], at, marker, color=shade, markersize=5.5)
        if pd.notna(row["control"]):
            ax.plot(row["control"], at, "|", color="0.1", markersize=9, mew=1.6)
        return
    why = "no estimate" if pd.isna(row["estimate"]) else "another unit: see the numbers"
    if row["striped"]:
        why = f"{why.partition(':')[0]}; below: verdicts alone"
    white = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
    style.centred(ax, why, 0.5, at, ax.get_yaxis_transform(), bbox=white)


def _plottable(row: Any) -> bool:
    values = [row[key] for key in ("estimate", "ci_low", "ci_high", "control")]
    known = [float(value) for value in values if pd.notna(value)]
    return pd.notna(row["estimate"]) and all(abs(value) <= 1.0001 for value in known)


def _scale(ax: Axes, findings: pd.DataFrame, sensitivity: pd.DataFrame) -> None:
    plottable = [_plottable(row) for _, row in findings.iterrows()]
    shown = findings[plottable]
    keys = zip(findings["claim"], findings["model"], strict=True)
    least = strips.reach(sensitivity, dict(zip(keys, plottable, strict=True)))
    values = (
        shown[["estimate", "ci_low", "ci_high", "control"]].to_numpy(float, na_value=np.nan).ravel()
    )
    negative = bool((values[~np.isnan(values)] < -0.02).any()) or least < -0.02
    ax.set_xlim(-1.05 if negative else -0.03, 1.05)
    ax.set_xticks([-1, -0.5, 0, 0.5, 1] if negative else [0, 0.25, 0.5, 0.75, 1])
    ax.grid(True, axis="x")
    ax.axvline(0, color="0.6", linewidth=0.8)
    ax.spines["bottom"].set_visible(True)
    ax.set_xlabel("estimate, in its measure's unit", fontsize=style.SMALL)


def _numbers(row: pd.Series) -> str:
    if pd.isna(row["estimate"]):
        first = "no estimate"
    else:
        bounds = f"[{_number(row['ci_low'])}, {_number(row['ci_high'])}]"
        first = f"{_number(row['estimate'])} {bounds}"
    if pd.notna(row["control"]):
        first += f", control {_number(row['control'])}"
    counts = [f"n {int(row['n'])}"] if pd.notna(row["n"]) else []
    if pd.notna(row["n_matches"]):
        counts.append(f"{int(row['n_matches'])} matches")
    if pd.notna(row["q_value"]):
        counts.append(f"q {row['q_value']:.2g}")
    lines = [first, ", ".join(counts)]
    if pd.notna(row["detectable"]) and row["detectable"] > 0:
        lines.append(f"would find {_number(row['detectable'])} four times in five")
    if pd.notna(row["spike_found"]):
        lines.append(_spike(row))
    return "\n".join(line for line in lines if line)


def _spike(row: pd.Series) -> str:
    """Say which effect, put into the model, is found, and how often a wrong one is."""
    found = float(row["spike_found"])
    size = f"{found:.3g} {_SHORT.get(row['spike_unit'], row['spike_unit'])}"
    said = f"put in: {size} found" if np.isfinite(found) else "put in: none found"
    return f"{said}, {row['spike_false']:.0%} false" if row["spike_false"] > 0 else said


def _number(value: Any) -> str:
    return "n/a" if pd.isna(value) else f"{float(value):.3g}"


def _text(value: Any) -> str:
    return "" if value is None or pd.isna(value) else str(value)


def _legend_entries(color: dict[str, tuple]) -> list[Line2D]:
    handles = [
        Line2D([], [], linestyle="none", marker=marker, color=color[name], markersize=6, label=text)
        for name, (marker, text) in VERDICTS.items()
    ]
    control = Line2D(
        [], [], linestyle="none", marker="|", color="0.1", mew=1.6, markersize=9, label="control"
    )
    part = Line2D([], [], linestyle="none", marker="o", color="0.4", markersize=3.2, mew=0,
                  label="small: the same claim judged on one part of the data")  # fmt: skip
    return [*handles, control, part]
