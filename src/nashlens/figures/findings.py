"""The findings at a glance, a page or few: each claim with its estimate, control and verdict."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nashlens.figures import strips, style, theme
from nashlens.figures.registry import Look

TITLE = "Findings"
VERDICTS = {
    "supported": ("o", "supported"),
    "contradicted": ("X", "contradicted"),
    "inconclusive": ("D", "inconclusive"),
    "not_applicable": ("s", "not applicable"),
}
"""Verdict -> its marker and its text; colours come from the palette."""
# fmt: off
_COLUMNS = [
    "claim", "model", "statement", "estimate", "ci_low", "ci_high", "n", "n_matches", "control",
    "detectable", "spike_found", "spike_unit", "verdict", "fragile",
]
# fmt: on
_HEADINGS = ("claim", "of", "estimate", "in numbers", "detectable", "verdict")
_SHARES = {
    False: (1.77, 0.68, 0.7, 1.45, 0.78, 1.2),
    True: (1.68, 0.8, 0.7, 1.45, 0.79, 1.16),
}
"""Whether claims have many subjects -> the columns' shares of the width."""
_MANY = 3
"""Subjects of a claim from which on it counts as many."""
_TEXT_WIDTH = 0.94
"""Share of the figure's width that the columns have."""
_UNITS = {"standard deviations": "SD"}
"""Unit of a spike -> its short form."""
_LINE, _FRAME = 0.105, 1.15
"""Inches of one line of text, and of all that is above and below the rows."""
_GAP, _CLAIM_GAP = 0.07, 0.1
"""Lines left free after each row, and besides after each claim."""
_GUTTER = 0.3
"""Inches that a claim's id has, left of its statement."""
_TEXT: dict[str, Any] = {"fontsize": theme.SMALL, "va": "top", "linespacing": 1.0}


@dataclass(frozen=True)
class _Row:
    """One claim about one subject, its texts wrapped to the columns."""

    finding: dict[str, Any]
    parts: pd.DataFrame
    """Of the sensitivity table."""
    subject: str
    numbers: str
    detectable: str
    """The smallest effects that would have been found: by the interval, and put into the model."""
    word: str
    """What its verdict hangs on."""

    @property
    def height(self) -> int:
        """Its height in lines."""
        return max(
            *(_lines(text) for text in (self.subject, self.numbers, self.detectable)),
            1 + _lines(self.word),
        )


def _message(findings: pd.DataFrame, sensitivity: pd.DataFrame, look: Look) -> str:
    """Say how many of the findings there are of each verdict."""
    number = findings["verdict"].value_counts()
    judged = len(findings) - number.get("not_applicable", 0)
    said = [f"{number.get(verdict, 0)} {VERDICTS[verdict][1]}" for verdict in list(VERDICTS)[:3]]
    text = f"Of {len(findings)} findings {judged} could be judged: {', '.join(said)}"
    return text if look.pages == 1 else f"{text} ({look.page}\u00a0of\u00a0{look.pages})"


@style.figure(TITLE, _message, findings=_COLUMNS, sensitivity=strips.COLUMNS)
def draw(findings: pd.DataFrame, sensitivity: pd.DataFrame, look: Look) -> Figure:
    """Draw one row for each claim and subject of a page; reasons are for the report.

    Claims are spread over the pages in the table's order, so that the tallest page is as low as
    it can be. All pages have one axis.

    Estimates between -1 and 1 stand on a common axis. Others (layers, say) have no place on it
    and are given as numbers. Under an estimate small marks show the same claim judged on parts of
    the data: on each template, each label set, each half of the matches.
    """
    if findings.empty:
        raise style.NothingToShowError("the findings table holds no row")
    many = bool(findings.groupby("claim").size().max() >= _MANY)
    width, ratios = look.width or style.WIDTH, list(_SHARES[many])
    inches = [width * _TEXT_WIDTH * share / sum(ratios) for share in ratios]
    claims = list(_claims(findings, sensitivity, inches, many=many))
    taken = [_height(head, rows) + _CLAIM_GAP for head, rows in claims]
    claims = claims[_on_page(taken, look)]
    if not claims:
        raise style.NothingToShowError("all claims stand on the pages before")
    total = sum(_height(head, rows) + _CLAIM_GAP for head, rows in claims)
    color = theme.colors(look.palette, ["not_applicable", "contradicted", "supported", "x"])
    color |= {"inconclusive": color["not_applicable"], "not_applicable": (0.5, 0.5, 0.5)}
    figure, body = style.canvas(width, _FRAME + _LINE * total)
    axes = body.subplots(1, len(ratios), sharey=True, width_ratios=ratios)
    for ax, heading in zip(axes, _HEADINGS, strict=True):
        ax.set_title(heading)
        ax.set_ylim(total, 0)
        ax.set_xlim(0, 1)
        ax.set_xticks([])
        ax.grid(False)
        ax.spines[:].set_visible(False)
        ax.tick_params(left=False, labelleft=False)
    _scale(axes[2], findings, sensitivity)
    start = 0.0
    for head, rows in claims:
        for ax in axes:
            ax.axhline(start - 0.1, color="0.75", linewidth=0.6)
        axes[0].text(0, start, rows[0].finding["claim"], fontweight="bold", **_TEXT)
        axes[0].text(_GUTTER / inches[0], start, head, **_TEXT)
        below = start
        for row in rows:
            _write(axes, below, row, color)
            below += row.height + _GAP
        start += _height(head, rows) + _CLAIM_GAP
    style.legend(body, _legend_entries(color))
    return figure


def _claims(
    findings: pd.DataFrame, sensitivity: pd.DataFrame, inches: list[float], *, many: bool
) -> Iterator[tuple[str, list[_Row]]]:
    """Yield each claim's statement, wrapped, and its rows, in the table's order."""
    for claim in dict.fromkeys(findings["claim"]):
        part = findings[findings["claim"] == claim]
        head = style.fit(str(part["statement"].iloc[0]), inches[0] - _GUTTER - 0.05)
        rows = []
        for _, finding in part.iterrows():
            same = (sensitivity["claim"] == claim) & (sensitivity["model"] == finding["model"])
            parts = sensitivity[same]
            numbers = _numbers(finding, with_matches=not many)
            word = strips.summary(parts, _text(finding["fragile"]), brief=many)
            rows.append(
                _Row(
                    finding={str(key): value for key, value in finding.items()},
                    parts=parts,
                    subject=style.fit(str(finding["model"]).replace("--", "-- "), inches[1] - 0.05),
                    numbers=style.fit(numbers, inches[3] - 0.05),
                    detectable=style.fit(_detectable(finding), inches[4] - 0.05),
                    word=style.fit(word, inches[5] - 0.15),
                )
            )
        yield head, rows


def _on_page(heights: list[float], look: Look) -> slice:
    """Return the claims of a page; the tallest page is as low as it can be."""
    ends = np.append(0.0, np.cumsum(heights))
    # The tallest page holds some run of claims, and at least the tallest claim.
    runs = {high - low for low, high in combinations(ends, 2)}
    for limit in sorted(run for run in runs if run >= max(heights)):
        starts = [0]
        while starts[-1] < len(heights):
            room = ends[starts[-1]] + limit + 1e-9
            starts.append(int(np.searchsorted(ends, room, side="right")) - 1)
        if len(starts) <= look.pages + 1:
            break
    starts += [len(heights)] * look.pages
    return slice(starts[look.page - 1], starts[look.page])


def _height(head: str, rows: list[_Row]) -> float:
    return max(_lines(head), sum(row.height + _GAP for row in rows))


def _lines(text: str) -> int:
    return text.count("\n") + 1 if text else 0


def _write(axes: Any, start: float, row: _Row, color: dict[str, tuple]) -> None:
    def mark(verdict: str) -> strips.Mark:
        return VERDICTS.get(verdict, ("P", verdict))[0], color.get(verdict, (0.3, 0.3, 0.3))

    verdict = str(row.finding["verdict"])
    marker, shade = mark(verdict)
    axes[1].text(0, start, row.subject, **_TEXT)
    axes[3].text(0, start, row.numbers, **_TEXT)
    axes[4].text(0, start, row.detectable, **_TEXT)
    axes[5].plot(0.04, start + 0.5, marker, color=shade, markersize=5, clip_on=False)
    text = VERDICTS.get(verdict, ("", verdict))[1]
    axes[5].text(0.1, start, text, color=shade, fontweight="bold", **_TEXT)
    weight = "bold" if _text(row.finding["fragile"]) else "normal"
    axes[5].text(0.1, start + 1, row.word, color="0.25", fontweight=weight, **_TEXT)
    _estimate(axes[2], start + 0.5, row.finding, marker, shade)
    if len(strips.judged(row.parts)) and _plottable(row.finding):
        strips.draw_strips(axes[2], start + 1.0, row.height - 1.1, row.parts, mark)


def _estimate(ax: Axes, at: float, row: dict[str, Any], marker: str, shade: Any) -> None:
    if _plottable(row):
        ax.hlines(at, row["ci_low"], row["ci_high"], color=shade, linewidth=1.8)
        ax.plot(row["estimate"], at, marker, color=shade, markersize=5)
        if pd.notna(row["control"]):
            ax.plot(row["control"], at, "|", color="0.1", markersize=8, mew=1.4)
    elif pd.notna(row["estimate"]):
        white = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
        style.centred(ax, "another unit", 0.5, at, ax.get_yaxis_transform(), bbox=white)


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
    ax.set_xticks([-1, 0, 1] if negative else [0, 0.5, 1])
    ax.grid(True, axis="x")
    ax.axvline(0, color="0.6", linewidth=0.8)
    ax.spines["bottom"].set_visible(True)
    ax.set_xlabel("in its measure's unit", fontsize=theme.SMALL)


def _numbers(row: pd.Series, *, with_matches: bool) -> str:
    if pd.isna(row["estimate"]):
        return "no estimate" if row["verdict"] != "not_applicable" else ""
    bounds = f"[{_number(row['ci_low'])}, {_number(row['ci_high'])}]"
    second = {"control": _number(row["control"]) if pd.notna(row["control"]) else ""}
    second["n"] = str(int(row["n"])) if pd.notna(row["n"]) else ""
    third: dict[str, str] = {}
    if with_matches:
        third["matches"] = str(int(row["n_matches"])) if pd.notna(row["n_matches"]) else ""
    said = [
        ", ".join(f"{name} {value}" for name, value in line.items() if value)
        for line in (second, third)
    ]
    return "\n".join(filter(None, [f"{_number(row['estimate'])} {bounds}", *said]))


def _detectable(row: pd.Series) -> str:
    """Return the effect that the interval would have shown, and in brackets the one put in."""
    if row["verdict"] == "not_applicable":
        return ""
    size, unit = row["spike_found"], _text(row["spike_unit"])
    lines = [_number(row["detectable"])] if row["detectable"] > 0 else []
    if unit and pd.isna(size):
        lines.append("(no need)")
    elif unit:
        put = "none" if np.isinf(size) else f"{size:g} {_UNITS.get(unit, unit)}"
        lines.append(f"({put})")
    return "\n".join(lines)


def _number(value: Any) -> str:
    return "n/a" if pd.isna(value) else f"{float(value):.2g}"


def _text(value: Any) -> str:
    return "" if value is None or pd.isna(value) else str(value)


def _legend_entries(color: dict[str, tuple]) -> list[Line2D]:
    handles = [
        Line2D([], [], linestyle="none", marker=marker, color=color[name], markersize=5, label=text)
        for name, (marker, text) in VERDICTS.items()
    ]
    control = Line2D(
        [], [], linestyle="none", marker="|", color="0.1", mew=1.4, markersize=8, label="control"
    )
    part = Line2D([], [], linestyle="none", marker="o", color="0.4", markersize=2.8, mew=0,
                  label="small: judged on one part of the data")  # fmt: skip
    found = style.note(
        "detectable: smallest effect found 4 times in 5, by the interval (in brackets: of those put"
        " into the model; SD: standard deviations; none: of no size tried; no need: it has the"
        " verdict anyway)"
    )
    return [*handles, control, part, found]
