"""What directions of each kind move: the figures steering (adding) and clamping.

A kind of direction has a row. Its first panel has, for every place of the table, how far the
action, the word and the place part of P(action 1) move from the smallest dose to the largest; the
next two have the response to each dose at the single layer where what the direction is meant to
move moves most, and at the first joint place (or the next layer).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from nashlens.figures import saying, scales, style, theme
from nashlens.figures.registry import Look
from nashlens.vocabulary.edits import CONCEPT_KINDS, DIRECTION_KINDS

_COLUMNS = ("model", "kind", "quantity", "direction", "part", "words", "game", "layers", "layer",
            "value", "target", "units", *style.ESTIMATE, "n", "n_matches",
            "n_directions", "wrong_way", "wrong_low", "wrong_high")  # fmt: skip
_PARTS = {"action": "o", "word": "s", "place": "^"}
"""Parts and their markers."""
_MEANT: dict[str, str] = {
    "abstract": "meant to move the action",
    "label": "meant to move any words",
    "published": "meant to move the action",
    **dict.fromkeys(CONCEPT_KINDS, "meant to move the action"),
}
_RESPONSES = 2
"""Panels of responses for each kind."""
_HANGING = 0.15
"""Share of a panel's height that a bar of all scenarios has."""


@dataclass(frozen=True)
class _DoseFigure:
    """What one of the figures shows."""

    kind: str
    """Of the table's rows."""
    title: str
    verb: str
    """As a sentence begins with it."""
    symbol: str
    """Of the dose."""
    units: Mapping[str, str]
    """Of the dose, by the table's `units`."""


_SD = "training SD"
FIGURES = {
    "steering": _DoseFigure(
        "add",
        "Steering: what moves when a direction is added",
        "Adding a direction",
        "\N{GREEK SMALL LETTER ALPHA}",
        {"norms": "mean residual norms", "absolute": "the residual's own units"},
    ),
    "clamping": _DoseFigure(
        "clamp",
        "Clamping: what moves when the projection on a direction is set",
        "Setting the projection on a direction",
        "c",
        {"norms": _SD, "absolute": _SD},
    ),
}
_TITLES = {name: shown.title for name, shown in FIGURES.items()}


def _message(steering_summary: pd.DataFrame, look: Look) -> str:
    """Say at how many places a direction moves what it is meant to, beyond random ones."""
    shown = FIGURES[look.figure]
    data = steering_summary[steering_summary["kind"] == shown.kind]
    changes = data[(data["quantity"] == "change") & data["game"].isna()]
    same = ["model", "layers", "part", "words"]
    random = changes[changes["direction"] == "random"][[*same, "ci_low", "ci_high"]]
    target = changes["target"].astype("boolean").fillna(False).astype(bool)
    ours = changes[(changes["direction"] != "random") & target & changes["estimate"].notna()]
    if ours.empty:
        return f"{shown.verb} cannot be judged: one dose only, or no whole block"
    ours = ours.merge(random, on=same, how="left", suffixes=("", "_random"))
    # Without random directions, beyond 0.
    low, high = ours["ci_low_random"].fillna(0.0), ours["ci_high_random"].fillna(0.0)
    apart = saying.above(ours, high) | saying.below(ours, low)
    most = saying.furthest(ours, apart)
    several = "layers" if "+" in str(most["layers"]) else "layer"
    return (
        f"{shown.verb} moves what it is meant to, beyond random ones, in"
        f" {apart.sum() or 'none'} of {len(ours)} places: most {most['direction']},"
        f" {saying.interval(most)} at {several} {most['layers']} of {most['model']}"
    )


@style.figure(_TITLES, _message, steering_summary=_COLUMNS)
def draw(steering_summary: pd.DataFrame, look: Look) -> Figure:
    """Draw the change of each part by place, and responses, with random directions as control."""
    shown = FIGURES[look.figure]
    data = steering_summary[steering_summary["kind"] == shown.kind]
    kinds: list[str] = [kind for kind in DIRECTION_KINDS if (data["direction"] == kind).any()]
    if not kinds:
        raise style.NothingToShowError(
            f"the steering table has no row of kind '{shown.kind}' along any direction"
        )
    models = list(dict.fromkeys(data["model"]))
    single = len(models) == 1
    columns = 1 + _RESPONSES if single else len(kinds)
    rows = len(kinds) if single else len(models)
    figure, body = style.canvas(look.width or style.WIDTH, 1.9 + 1.75 * rows)
    options = {"width_ratios": [1.7, *[1] * _RESPONSES]} if single else {}
    grid = body.subplots(rows, columns, squeeze=False, gridspec_kw=options)
    style.hide(grid.ravel())
    colors = theme.colors(look.palette, list(_PARTS))
    inches = (look.width or style.WIDTH) / columns - 0.35
    for row, model in enumerate(models):
        for place, kind in enumerate(kinds):
            part = data[data["model"] == model]
            part = part[part["direction"].isin([kind, "random"])]
            ax = grid[place, 0] if single else grid[row, place]
            head = f"{kind} direction" + (f" ({_MEANT[kind]})" if single else f", {model}")
            first = single or place == 0
            _changes(ax, part, kind, shown, colors, label=first)
            ax.set_title(style.fit(head, inches * (1.7 if single else 1)), fontsize=theme.SMALL)
            if single:
                _responses(grid[place, 1:], part, kind, shown, colors)
    style.legend(body, _legend_entries(data, kinds, shown, colors, look.confidence))
    return figure


def _ends(rows: pd.DataFrame) -> tuple[float, float]:
    """Return the smallest and the largest dose."""
    return rows["value"].min(), rows["value"].max()


def _places(rows: pd.DataFrame) -> list[str]:
    """Return the places, single layers first."""
    found = rows[["layer", "layers"]].drop_duplicates()
    several = found["layers"].str.count(r"\+")
    found = found.assign(several=several).sort_values(["several", "layer", "layers"])
    return found["layers"].astype(str).tolist()


def _changes(
    ax: Axes,
    rows: pd.DataFrame,
    kind: str,
    shown: _DoseFigure,
    colors: Mapping[str, Any],
    *,
    label: bool,
) -> None:
    """Draw how far each part moves at each place."""
    ax.set_axis_on()
    changes = rows[rows["quantity"] == "change"]
    ours = changes[changes["direction"] == kind]
    low, high = _ends(rows)
    if ours.empty:
        problem = "no block has both the smallest and the largest dose"
        style.no_data(ax, "one dose only" if low == high else problem)
        return
    places = _places(ours)
    # Joint places are set apart from single layers.
    x = {name: k + 0.6 * ("+" in name) for k, name in enumerate(places)}
    target = ours[ours["target"]]
    _random_band(ax, changes, target, x)
    _wrong_way(ax, target, x)
    ax.axhline(0, color="0.6", linewidth=0.7)
    limit = 0.1
    for series in _series(ours, kind):
        drawn = ours[(ours["part"] == series.part) & (ours["words"] == series.words)]
        at = drawn["layers"].map(x).to_numpy(float) + series.shift
        color = colors[series.part]
        face = color if series.filled else "white"
        singles = ~drawn["layers"].str.contains("+", regex=False).to_numpy()
        values = drawn["estimate"].to_numpy(float)
        width = 1.6 if series.target else 0.9
        ax.plot(at[singles], values[singles], color=color, linewidth=width, linestyle=series.dash)
        ax.vlines(at, drawn["ci_low"], drawn["ci_high"], color=color, linewidth=width)
        marker = _PARTS[series.part]
        ax.plot(at, values, marker, color=color, markerfacecolor=face, markersize=4)
        spread = drawn[list(style.ESTIMATE)].abs().max().max()
        limit = max(limit, float(np.nan_to_num(spread)))
    ax.set_ylim(-1.08 * limit, 1.08 * limit)
    scales.ticks(ax.yaxis, 4)
    step = -(-len(places) // 12)
    named = [name for k, name in enumerate(places) if k % step == 0 or "+" in name]
    ax.set_xticks([x[name] for name in named], named)
    joint = next((f"; {name}: at once" for name in places if "+" in name), "")
    ax.set_xlabel(f"after layer{joint}", fontsize=theme.SMALL)
    if label:
        text = f"change of P\n{shown.symbol} = {low:g} to {high:g}"
        ax.set_ylabel(text, fontsize=theme.SMALL)


@dataclass(frozen=True)
class _Series:
    """One line of changes."""

    part: str
    words: str
    target: bool
    shift: float
    """So that intervals of one place stand next to each other."""
    filled: bool = True
    dash: str = "-"


def _series(rows: pd.DataFrame, kind: str) -> list[_Series]:
    """Return the lines of a kind: all parts, or of the label direction the word part by words."""
    if kind != "label" or not (rows["words"] == "unseen").any():
        return [
            _Series(part, "all", part == "action", 0.12 * (k - 1)) for k, part in enumerate(_PARTS)
        ]
    found = [_Series("action", "all", False, -0.12)]
    if (rows["words"] == "seen").any():
        found.append(_Series("word", "seen", False, 0.0, dash="--"))
    return [*found, _Series("word", "unseen", True, 0.12, filled=False)]


def _random_band(
    ax: Axes, changes: pd.DataFrame, target: pd.DataFrame, x: Mapping[str, float]
) -> None:
    """Draw where random directions lie in what the direction is meant to move."""
    if target.empty:
        return
    part, words = target[["part", "words"]].iloc[0]
    random = changes[
        (changes["direction"] == "random") & (changes["part"] == part) & (changes["words"] == words)
    ]
    random = random[random["layers"].isin(x)]
    at = random["layers"].map(x).to_numpy(float)
    height = (random["ci_high"] - random["ci_low"]).to_numpy(float)
    ax.bar(at, height, 0.7, bottom=random["ci_low"], color="0.8", zorder=0)


def _wrong_way(ax: Axes, target: pd.DataFrame, x: Mapping[str, float]) -> None:
    """Hang bars from the top: how many scenarios the push moves against its meaning."""
    if target.empty:
        return
    at, share = target["layers"].map(x).to_numpy(float), target["wrong_way"].to_numpy(float)
    # Above the grid, below the lines.
    look: dict[str, Any] = {"transform": ax.get_xaxis_transform(), "zorder": 1.7}
    ax.bar(at, _HANGING * share, 0.5, bottom=1 - _HANGING * share, color="0.35", **look)
    ax.plot([0, 1], [1 - _HANGING] * 2, ":", color="0.6", linewidth=0.6, transform=ax.transAxes)


def _share_wrong(rows: pd.DataFrame, kind: str, place: str) -> str:
    """Say how many scenarios move the wrong way at a place."""
    found = rows[(rows["quantity"] == "change") & (rows["direction"] == kind) & rows["target"]]
    found = found[found["layers"] == place]
    if found.empty or found["wrong_way"].isna().all():
        return ""
    share, low, high = found[["wrong_way", "wrong_low", "wrong_high"]].iloc[0]
    return f"\nwrong way: {share:.0%} [{low:.0%}, {high:.0%}]"


def _responses(
    axes: Any, rows: pd.DataFrame, kind: str, shown: _DoseFigure, colors: Mapping[str, Any]
) -> None:
    """Draw the response to each dose at a few places."""
    response = rows[rows["quantity"] == "response"]
    part = response.loc[response["direction"] == kind, "part"].iloc[0]
    for ax, place in zip(axes, _shown_places(rows, kind), strict=False):
        ax.set_axis_on()
        here = response[(response["layers"] == place) & (response["part"] == part)]
        ours = here[here["direction"] == kind]
        words = "unseen" if kind == "label" and (ours["words"] == "unseen").any() else "all"
        random = here[(here["direction"] == "random") & (here["words"] == words)]
        if len(random):
            bounds = random["ci_low"], random["ci_high"]
            ax.fill_between(random["value"], *bounds, color="0.8", linewidth=0)
        whole = ours[ours["game"].isna()]
        color = colors[part]
        if words == "unseen":
            seen = whole[whole["words"] == "seen"]
            style.line(ax, seen, "value", color=color, marker="s", linestyle="--", linewidth=0.9)
            style.line(
                ax,
                whole[whole["words"] == words],
                "value",
                color=color,
                marker="s",
                markerfacecolor="white",
            )
        else:
            style.line(ax, whole[whole["words"] == words], "value", color=color, marker="o")
        scales.probability_axis(ax)
        ax.axvline(0, color="0.6", linewidth=0.7)
        several = "layers" if "+" in place else "layer"
        wrong = _share_wrong(rows, kind, place)
        ax.set_title(f"after {several} {place}{wrong}", fontsize=theme.SMALL)
        units = shown.units[str(rows["units"].iloc[0])]
        ax.set_xlabel(f"{shown.symbol} ({units})", fontsize=theme.SMALL)
        ax.set_ylabel("P(action 1)" if part == "action" else "P(first label)", fontsize=theme.SMALL)
        ends = sorted({*_ends(ours), 0.0})
        ax.set_xticks(ends, [f"{value:g}" for value in ends])


def _shown_places(rows: pd.DataFrame, kind: str) -> list[str]:
    """Return the single layer where the target moves most, and the first joint place or next."""
    changes = rows[(rows["quantity"] == "change") & (rows["direction"] == kind)]
    target = changes[changes["target"]] if changes["target"].any() else changes
    if target.empty:
        return _places(rows)[:_RESPONSES]
    sizes = target.set_index("layers")["estimate"].abs().sort_values(ascending=False)
    sizes = sizes[~sizes.index.duplicated()]
    single = [name for name in sizes.index if "+" not in name]
    joint = [name for name in sizes.index if "+" in name]
    return [*single[:1], *joint[:1], *single[1:]][:_RESPONSES]


def _legend_entries(
    data: pd.DataFrame,
    kinds: list[str],
    shown: _DoseFigure,
    colors: Mapping[str, Any],
    confidence: float,
) -> list[Any]:
    handles: list[Any] = [
        Line2D([], [], color=colors["action"], marker="o", label="action"),
        Line2D([], [], color=colors["word"], marker="s", label="word"),
    ]
    if kinds != ["label"]:
        handles.append(Line2D([], [], color=colors["place"], marker="^", label="place"))
    if "label" in kinds and (data["words"] == "unseen").any():
        look: dict[str, Any] = {"color": colors["word"], "marker": "s"}
        known, new = "word, sets fitted on", "word, other sets"
        handles.append(Line2D([], [], linestyle="--", label=known, **look))
        handles.append(Line2D([], [], markerfacecolor="white", label=new, **look))
    number = data.loc[data["direction"] == "random", "n_directions"].max()
    controls = 0 if pd.isna(number) else int(number)
    tail = 50 * (1 - confidence)
    text = f"{controls} random directions" if controls else "no random directions"
    handles.append(Patch(color="0.8", alpha=1 if controls else 0, label=text))
    label = "moved the wrong way"
    handles.append(Patch(color="0.35", label=label))
    ours = data[data["direction"] != "random"]
    whole = ours[ours["game"].isna() & (ours["words"] == "all")]
    counts = saying.largest_sizes(whole, "prompts")
    handles.append(
        style.note(
            "parts: towards action 1, the pair's first label, the option listed first, in games"
            f" that no direction was fitted on; thick: what is judged; {confidence:.0%} intervals;"
            f" random: {tail:g} to {100 - tail:g} %; hanging bars: share of scenarios moved the"
            f" wrong way; {counts}"
        )
    )
    return handles
