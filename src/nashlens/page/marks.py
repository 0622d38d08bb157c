"""What the charts share: colours that the colour-blind tell apart, and a few forms of chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import altair as alt
import pandas as pd
import vl_convert

WIDTH, HEIGHT = 430, 210
SMALL_WIDTH, SMALL_HEIGHT = 150, 120
PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#9A7200", "#3C8DBC", "#6B6B6B", "#8A4FBF"]
"""After Okabe and Ito, darkened where 3:1 on white needs it."""
VERDICT_COLOURS = {
    "supported": "#0072B2",
    "contradicted": "#C44E00",
    "inconclusive": "#767676",
    "not judged": "#767676",
}
VERDICT_SHAPES = {
    "supported": "circle",
    "contradicted": "cross",
    "inconclusive": "diamond",
    "not judged": "square",
}
CONFIG: dict[str, Any] = {
    "background": "transparent",
    "font": "system-ui, sans-serif",
    "aria": False,
    "axis": {"labelFontSize": 11, "titleFontSize": 11, "titleFontWeight": "normal"},
    "header": {"labelFontSize": 11, "titleFontSize": 11, "labelLimit": 320},
    "legend": {
        "labelFontSize": 11,
        "titleFontSize": 11,
        "labelLimit": 320,
        "orient": "bottom",
        "columns": 3,
        "symbolOpacity": 1,
    },
    "view": {"continuousWidth": WIDTH, "continuousHeight": HEIGHT},
}


class Picture(NamedTuple):
    """A chart, as a specification of Vega-Lite and as a static picture."""

    spec: dict[str, Any]
    svg: str
    title: str
    alt: str
    tables: tuple[str, ...]
    """The tables whose rows it shows."""


def picture(chart: Any, title: str, alternative: str, *tables: str) -> Picture:
    """Return a chart with its static picture, for readers without JavaScript."""
    spec = chart.configure(**CONFIG).to_dict()
    # The figure around it says in words what it shows.
    svg = vl_convert.vegalite_to_svg(spec).replace("<svg ", '<svg aria-hidden="true" ', 1)
    return Picture(spec, svg, title, alternative, tables)


def data(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Return the columns that a chart shows, as plain values; infinite ones are left out."""
    found = frame[[column for column in columns if column in frame.columns]].copy()
    for column in found.columns:
        if pd.api.types.is_numeric_dtype(found[column]) and found[column].dtype != bool:
            found[column] = found[column].astype("float64").round(5)
            found[column] = found[column].where(found[column].abs() != float("inf"))
        elif found[column].dtype != bool:
            names = [_one_line(value) for value in found[column]]
            found[column] = pd.Series(names, found.index, dtype=object)
    return found


def _one_line(value: Any) -> Any:
    """Return a name without the two separators that an expression of Vega, which sorts, refuses."""
    if isinstance(value, str):
        return value.translate({0x2028: " ", 0x2029: " "})
    return None if pd.isna(value) else value


def colour(field: str, domain: Sequence[str], title: str | None = None) -> dict[str, Any]:
    """Return a series' colour, shape and dash, so that it needs no colour."""
    known = list(domain)
    shapes = ["circle", "square", "triangle-up", "diamond", "cross", "triangle-down"]
    dashes = [[1, 0], [6, 3], [2, 2], [8, 3, 2, 3]]
    return {
        "color": _channel(alt.Color, field, title, known, PALETTE),
        "shape": _channel(alt.Shape, field, title, known, shapes),
        "strokeDash": _channel(alt.StrokeDash, field, title, known, dashes),
    }


def _channel(
    kind: Any, field: str, title: str | None, domain: list[str], values: Sequence[Any]
) -> Any:
    """Return what a channel shows of a series: the values in turn."""
    shown = [values[i % len(values)] for i in range(len(domain))]
    return kind(f"{field}:N", title=title, scale=alt.Scale(domain=domain, range=shown))


def _bounded(shown: pd.DataFrame) -> bool:
    return bool(shown[["ci_low", "ci_high"]].notna().all(axis=1).any())


def lines(
    frame: pd.DataFrame,
    x: str,
    *,
    series: str,
    labels: Mapping[str, str],
    at: float | None = None,
    facet: str | None = None,
    column: str | None = None,
    small: bool = False,
) -> Any:
    """Return lines with bands: estimates over layers, doses, rounds or numbers of components.

    Parameters
    ----------
    frame : DataFrame
        `estimate`, `ci_low`, `ci_high`, and the other arguments' columns.
    x, series : str
        Columns.
    labels : mapping of str to str
        Titles of x, `estimate` and the series.
    at : float, optional
        Where a rule is drawn: what says nothing.
    facet, column : str, optional
        Columns whose values have rows, or columns, of their own.
    small : bool
        Whether each of many facets is small.
    """
    kinds = {x, series, facet, column} - {None}
    shown = data(frame, [*sorted(str(k) for k in kinds), "estimate", "ci_low", "ci_high", "n"])
    domain = _order(shown[series])
    marks = colour(series, domain, labels[series])
    x_axis = alt.X(f"{x}:Q", title=labels[x], axis=alt.Axis(tickMinStep=_step(shown[x])))
    y_axis = alt.Y("estimate:Q", title=labels["estimate"], scale=alt.Scale(zero=False))
    tips = [alt.Tooltip(name) for name in shown.columns]
    base = alt.Chart()
    size = (
        {"width": SMALL_WIDTH, "height": SMALL_HEIGHT}
        if small
        else {"width": WIDTH, "height": HEIGHT}
    )
    layers = [
        base.mark_line().encode(
            x=x_axis, y=y_axis, color=marks["color"], strokeDash=marks["strokeDash"]
        ),
        base.mark_point(filled=True, size=28).encode(
            x=x_axis, y=y_axis, color=marks["color"], shape=marks["shape"], tooltip=tips
        ),
    ]  # fmt: skip
    if _bounded(shown):
        band = base.mark_area(opacity=0.15).encode(
            x=x_axis, y=alt.Y("ci_low:Q", title=labels["estimate"]), y2="ci_high:Q",
            color=marks["color"],
        )  # fmt: skip
        layers.insert(0, band)
    if at is not None:
        # Last: a zoom belongs to the first layer, which must have both fields.
        rule = base.mark_rule(strokeDash=[3, 3], color="#767676")
        layers.append(rule.encode(y=alt.datum(at)))
    layered = alt.layer(*layers).properties(**size).add_params(_zoom("x", "y"))
    if facet is None and column is None:
        return layered.properties(data=shown)
    # Facets part the data of the whole: a part with data of its own would show all of it.
    parts: dict[str, Any] = {"row": _row(facet, shown)} if facet else {}
    if column:
        parts["column"] = alt.Column(f"{column}:N", title=None, sort=_order(shown[column]))
    return layered.facet(data=shown, **parts)


def points(
    frame: pd.DataFrame, x: str, *, series: str, labels: Mapping[str, str], facet: str | None = None
) -> Any:
    """Return one point for each row: `estimate` over another column, both from 0 to 1.

    Parameters
    ----------
    frame : DataFrame
        `estimate` and the other arguments' columns; all columns are in the tooltip.
    x, series : str
        Columns.
    labels : mapping of str to str
        Titles of x, `estimate` and the series.
    facet : str, optional
        Column whose values have rows of their own.
    """
    shown = data(frame, list(frame.columns))
    marks = colour(series, _order(shown[series]), labels[series])
    axes = {
        name: axis(f"{field}:Q", title=labels[field], scale=alt.Scale(domain=[0, 1]))
        for name, axis, field in (("x", alt.X, x), ("y", alt.Y, "estimate"))
    }
    tips = [alt.Tooltip(name) for name in shown.columns]
    chart = alt.Chart(shown).mark_point(filled=True, size=45, opacity=0.75)
    chart = chart.encode(**axes, color=marks["color"], shape=marks["shape"], tooltip=tips)
    chart = chart.properties(width=WIDTH, height=HEIGHT).add_params(_zoom("x", "y"))
    return chart.facet(row=_row(facet, shown)) if facet else chart


def _order(values: pd.Series) -> list[Any]:
    """Return values as they come first."""
    return list(dict.fromkeys(values))


def _row(field: str, shown: pd.DataFrame) -> Any:
    """Return a row of facets, its name above it."""
    header = alt.Header(
        labelOrient="top", labelAnchor="start", labelPadding=2, labelFontWeight="bold"
    )
    return alt.Row(f"{field}:N", title=None, sort=_order(shown[field]), header=header)


def _zoom(*axes: Literal["x", "y"]) -> Any:
    """Return a zoom that leaves the page's own scrolling alone: with the shift key only.

    Facets share their scales, so they are zoomed together: it belongs to the chart in them.
    """
    return alt.selection_interval(
        name="zoom",
        bind="scales",
        encodings=list(axes),
        zoom="wheel![event.shiftKey]",
        translate="[pointerdown[event.shiftKey], window:pointerup] > window:pointermove!",
    )


def _step(values: pd.Series) -> float:
    whole = (values.dropna() % 1 == 0).all()
    return 1.0 if whole else 0.01


def dots(
    frame: pd.DataFrame,
    y: str,
    *,
    series: str,
    labels: Mapping[str, str],
    control: bool = False,
    facet: str | None = None,
    at: float | None = None,
    verdicts: bool = False,
) -> Any:
    """Return estimates as dots with their intervals, one line of the chart for each value of y.

    Parameters
    ----------
    frame : DataFrame
        `estimate`, `ci_low`, `ci_high` and the other arguments' columns.
    y, series : str
        Columns.
    labels : mapping of str to str
        Titles of `estimate`, y and the series.
    control : bool
        Whether the column `control` is drawn as a tick.
    facet : str, optional
        Column whose values have rows of their own.
    at : float, optional
        Where a rule is drawn.
    verdicts : bool
        Whether the series are verdicts, which have their own colours and shapes.
    """
    names = [y, series, *([facet] if facet else []), "estimate", "ci_low", "ci_high", "control"]
    shown = data(frame, [*names, "n", "n_matches"])
    domain = _order(shown[series])
    marks = _verdict_marks(series) if verdicts else colour(series, domain, labels[series])
    order = _order(shown[y])
    offset: dict[str, Any] = (
        {} if verdicts or len(domain) == 1 else {"yOffset": alt.YOffset(f"{series}:N", sort=domain)}
    )
    y_axis = alt.Y(f"{y}:N", title=None, sort=order, axis=alt.Axis(labelLimit=240))
    x_axis = alt.X("estimate:Q", title=labels["estimate"], scale=alt.Scale(zero=False))
    base = alt.Chart().encode(y=y_axis, **offset)
    layers = [
        base.mark_point(filled=True, size=55, opacity=1).encode(
            x=x_axis, color=marks["color"], shape=marks["shape"],
            tooltip=[alt.Tooltip(name) for name in shown.columns],
        )
    ]  # fmt: skip
    if _bounded(shown):
        low = alt.X("ci_low:Q", title=labels["estimate"])
        rules = base.mark_rule(strokeWidth=2)
        layers.insert(0, rules.encode(x=low, x2="ci_high:Q", color=marks["color"]))
    if control and "control" in shown.columns and shown["control"].notna().any():
        tick = base.mark_tick(thickness=2, size=13, color="#767676")
        layers.append(tick.encode(x="control:Q", tooltip=[alt.Tooltip("control:Q")]))
    if at is not None:
        rule = alt.Chart().mark_rule(strokeDash=[3, 3], color="#767676")
        layers.append(rule.encode(x=alt.datum(at)))
    step = 20 if not offset else 11
    layered = alt.layer(*layers).properties(width=WIDTH, height=alt.Step(step))
    layered = layered.add_params(_zoom("x"))
    if facet is None:
        return layered.properties(data=shown)
    return layered.facet(data=shown, row=_row(facet, shown))


def _verdict_marks(series: str) -> dict[str, Any]:
    known = VERDICT_COLOURS, VERDICT_SHAPES
    colours, shapes = ([one[name] for name in VERDICT_COLOURS] for one in known)
    names = list(VERDICT_COLOURS)
    return {
        "color": _channel(alt.Color, series, None, names, colours),
        "shape": _channel(alt.Shape, series, None, names, shapes),
    }


def heat(frame: pd.DataFrame, *, x: str, y: str, facet: str, title: str) -> Any:
    """Return a map of estimates: x are names, y whole numbers, each estimate's cell a colour."""
    shown = data(frame, [x, y, facet, "estimate", "ci_low", "ci_high", "n"])
    # Edges of the cells: names in the place of numbers could not be zoomed.
    numbers = shown[y].astype("float64")
    shown = shown.assign(**{"from": numbers - 0.5, "to": numbers + 0.5})
    ends = [numbers.min() - 0.5, numbers.max() + 0.5]
    rows = int(ends[1] - ends[0])
    axis = alt.Axis(tickCount=rows, tickMinStep=1, format="d", grid=False)
    base = alt.Chart(shown).encode(
        x=alt.X(f"{x}:N", title=None, sort=None, axis=alt.Axis(labelAngle=-30)),
        y=alt.Y("from:Q", title=y, scale=alt.Scale(domain=ends, nice=False), axis=axis),
        y2="to:Q",
    )
    scale = alt.Scale(scheme="purpleorange", domainMid=0)
    cells = base.mark_rect().encode(
        color=alt.Color("estimate:Q", title=title, scale=scale),
        tooltip=[alt.Tooltip(name) for name in shown.columns if name not in ("from", "to")],
    )
    cells = cells.properties(width=260, height=14 * rows).add_params(_zoom("y"))
    return cells.facet(row=_row(facet, shown))
