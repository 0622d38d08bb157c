"""What reasoning and notes change against direct answers: by game, and by size of the model."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nashlens.figures import cells, saying, scales, style, theme
from nashlens.figures.registry import Look
from nashlens.models.table import readable_count
from nashlens.play.metrics.pooled import DIFFERENCE_PAIRINGS, at_once, compared_modes

TITLE = "Reasoning and notes against direct answers"
MODES = {
    "direct": "direct",
    "cot": "chain of thought",
    "scratchpad": "scratchpad",
    "predict": "prediction",
}
"""Mode -> as readers call it; the first one is what the others are compared with."""
_MEASURES = {"nash_tv": "Nash distance", "cooperation": "cooperation"}
_DIFFERENCES = ("model", "mode", "game", "pairing", "measure", *style.ESTIMATE, "reason")
_GAP = 0.35
"""Decades that two models stand apart at least, so that their bars do not cover one another."""


@dataclass(frozen=True)
class _Scale:
    """The horizontal axis: models, or the games of the only model."""

    column: str
    places: dict[str, float]
    labels: list[str]
    title: str
    families: dict[str, str]
    """Models that a line joins: model -> family."""


def _message(metrics: pd.DataFrame, mode_differences: pd.DataFrame, look: Look) -> str:
    """Say how many differences from direct answers leave out 0, and which is largest."""
    shown = compared_modes(cells.of_models(metrics))
    known = mode_differences[mode_differences["measure"].isin(list(_MEASURES))]
    known = known[known["estimate"].notna() & known["model"].isin(shown["model"])]
    known = known.reset_index(drop=True)
    if known.empty:
        return "No mode can be compared with direct answers: only one was played"
    apart = saying.beyond(known)
    most = saying.furthest(known, apart)
    number = (
        f"{MODES[most['mode']]}, {_MEASURES[most['measure']]} {saying.interval(most)}"
        f" ({most['model']}, {style.words(most['game'])})"
    )
    return (
        "Reasoning and notes change play in"
        f" {saying.cases(apart.sum(), known['ci_low'], 'comparisons')}: most {number}"
    )


@style.figure(TITLE, _message, metrics=cells.COLUMNS, mode_differences=_DIFFERENCES)
def draw(metrics: pd.DataFrame, mode_differences: pd.DataFrame, look: Look) -> Figure:
    """Draw Nash distance and cooperation by mode, and each mode's difference from direct answers.

    Models stand at their `n_parameters` where all are known, and lines join those of one `family`.
    """
    data = cells.of_models(metrics)
    shown = compared_modes(data)
    style.need_rows(shown, f"{cells.EMPTY} against itself or a script")
    kinds = [kind for kind in DIFFERENCE_PAIRINGS if (shown["pairing"] == kind).any()]
    modes = [mode for mode in MODES if (shown["mode"] == mode).any()]
    games = cells.games(shown)
    alone = shown["model"].nunique() == 1
    width = look.width or style.WIDTH
    room = (width - 0.8) / len(kinds) / len(games) - 0.1
    scale = _games(games, room) if alone else _models(data, shown)
    blocks = _blocks(kinds, games, alone=alone)
    across = max(map(len, blocks))
    rows = _rows(len(modes) > 1)
    down = len(rows) * len(blocks)
    color = theme.colors(look.palette, list(MODES))
    figure, body = style.canvas(width, 3.0 + 1.15 * down)
    grid = body.subplots(down, across, squeeze=False, sharex=True, sharey="row")
    style.hide(grid.ravel())
    for block, facets in enumerate(blocks):
        for row, (measure, less) in enumerate(rows):
            source = mode_differences if less else shown
            for column, (kind, game) in enumerate(facets):
                part = source[(source["measure"] == measure) & (source["pairing"] == kind)]
                part = part if game is None else part[part["game"] == game]
                ax = grid[len(rows) * block + row, column]
                ax.set_axis_on()
                _by_mode(ax, part, scale, modes, color, less)
                if row == 0:
                    head = _heading(part, kind, game, first=column == 0)
                    head = style.fit(head, width / across - 0.35)
                    ax.set_title(head, fontsize=theme.SMALL)
                if len(rows) * block + row + 1 == down:
                    ax.set_xlabel(style.fit(scale.title, width / across), fontsize=theme.SMALL)
            if less:
                _centre(grid[len(rows) * block + row, 0], source, measure, facets)
            name = f"{_MEASURES[measure]},\ndifference" if less else _MEASURES[measure]
            grid[len(rows) * block + row, 0].set_ylabel(name, fontsize=theme.SMALL)
    style.legend(body, _legend_entries(shown, modes, color))
    style.notes(body, _notes(data, shown, modes, look.confidence))
    return figure


_Facet = tuple[str, str | None]
"""A panel's pairing, and its game where it has one alone."""


def _blocks(kinds: list[str], games: list[str], *, alone: bool) -> list[list[_Facet]]:
    """Return the panels side by side: pairings of the only model, or at most four games of each."""
    if alone:
        return [[(kind, None) for kind in kinds]]
    return [
        [(kind, game) for game in games[start : start + 4]]
        for kind in kinds
        for start in range(0, len(games), 4)
    ]


def _rows(several: bool) -> list[tuple[str, bool]]:
    """Return measures, each with its differences where there are several modes."""
    return [(measure, less) for measure in _MEASURES for less in (False, True)[: 1 + several]]


def _games(games: list[str], inches: float) -> _Scale:
    """Place games side by side; each has so many inches."""
    # Broken between words alone: one by itself has room for a letter more.
    width = max(8, int(18.0 * inches))
    labels = [textwrap.fill(style.words(g), width, break_long_words=False) for g in games]
    return _Scale("game", {g: float(i) for i, g in enumerate(games)}, labels, "game", {})


def _models(data: pd.DataFrame, shown: pd.DataFrame) -> _Scale:
    """Place models at the logarithm of their size where it is known, else one after another."""
    agents = data.drop_duplicates("agent").set_index("agent")
    order = [str(agents.loc[agent, "model"]) for agent in cells.agents(shown)]
    models = list(dict.fromkeys(order))
    sizes = _known(data, "n_parameters", models)
    places, title = {model: float(i) for i, model in enumerate(models)}, "model"
    if len(sizes) == len(models):
        last = -np.inf
        for model in models:
            last = places[model] = max(float(np.log10(sizes[model])), last + _GAP)
        title = "model, by log of parameters"
        if any(places[model] > np.log10(sizes[model]) + 1e-9 for model in models):
            title += "\n(those of like size moved apart)"
    labels = [f"{m} ({readable_count(sizes[m])})" if m in sizes else m for m in models]
    return _Scale("model", places, labels, title, _known(data, "family", models))


def _known(data: pd.DataFrame, column: str, models: list[str]) -> dict[str, Any]:
    known = data[data[column].notna()].drop_duplicates("model").set_index("model")[column]
    return {model: known[model] for model in models if model in known}


def _by_mode(
    ax: Axes,
    rows: pd.DataFrame,
    scale: _Scale,
    modes: list[str],
    color: dict[str, tuple],
    less: bool,
) -> None:
    places = list(scale.places.values())
    gap = min(np.diff(sorted(places)), default=1.0)
    ax.set_xlim(min(places) - 0.6 * gap, max(places) + 0.6 * gap)
    turn = scale.column == "model"
    ax.set_xticks(places, scale.labels, rotation=90 if turn else 0)
    ax.grid(False, axis="x")
    known = rows[rows["estimate"].notna()]
    if not less:
        ax.set(ylim=(-0.05, 1.05), yticks=[0, 0.5, 1])
    if known.empty:
        reasons = [reason for reason in rows["reason"] if reason]
        why = reasons[0] if reasons else "one mode alone" if less else "not played"
        style.shade_empty(ax, style.fit(f"no data: {why}", 1.2 if turn else 2.5))
        return
    if less:
        ax.axhline(0, color="0.3", linewidth=0.8)
    for place in set(scale.places) - set(known[scale.column]):
        style.centred(
            ax, "undefined" if place in set(rows[scale.column]) else "none",
            scale.places[place], 0.5, ax.get_xaxis_transform(), rotation=90 if turn else 0,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )  # fmt: skip
    for index, mode in enumerate(modes):
        part = known[known["mode"] == mode]
        at = part[scale.column].map(scale.places).to_numpy(float)
        at = at + (index - (len(modes) - 1) / 2) * 0.24 * gap
        marker = theme.MARKERS[list(MODES).index(mode)]
        if less:
            # What a difference is compared with is the line at 0.
            part = part.assign(control=np.nan)
        cells.points(ax, part, at, color=color[mode], marker=marker, upright=True)
        _join(ax, part, at, scale, color[mode])


def _centre(ax: Axes, rows: pd.DataFrame, measure: str, facets: list[_Facet]) -> None:
    """Give a row of differences one scale around 0."""
    part = rows[(rows["measure"] == measure) & rows["pairing"].isin([kind for kind, _ in facets])]
    values = part[list(style.ESTIMATE)].abs().to_numpy(float)
    reach = 1.15 * max(0.05, float(np.nanmax(values, initial=0.0)))
    ax.set_ylim(-reach, reach)
    scales.ticks(ax.yaxis, 4)


def _join(ax: Axes, rows: pd.DataFrame, at: np.ndarray, scale: _Scale, color: Any) -> None:
    """Join the models of a family."""
    family = rows["model"].map(scale.families).to_numpy(object)
    for name in dict.fromkeys(scale.families.values()):
        order = np.flatnonzero(family == name)
        order = order[np.argsort(at[order])]
        ax.plot(at[order], rows["estimate"].to_numpy(float)[order], color=color, linewidth=0.8)


def _heading(rows: pd.DataFrame, kind: str, game: str | None, *, first: bool) -> str:
    against = f"against {cells.OPPONENTS[kind]}"
    if game is None:
        return f"{against}\n{cells.size(rows)}"
    return (f"{against}:\n" if first else "\n") + f"{style.words(game)}\n{cells.size(rows)}"


def _legend_entries(shown: pd.DataFrame, modes: list[str], color: dict[str, tuple]) -> list[Line2D]:
    handles = []
    for mode in modes:
        rounds = saying.counted(shown.loc[shown["mode"] == mode, "match_rounds"])
        marker = theme.MARKERS[list(MODES).index(mode)]
        label = f"{MODES[mode]} ({rounds} round{'' if rounds == '1' else 's'})"
        handles.append(Line2D([], [], color=color[mode], marker=marker, label=label))
    return [*handles, cells.control_entry(marker="_")]


def _notes(
    data: pd.DataFrame, shown: pd.DataFrame, modes: list[str], confidence: float
) -> list[str]:
    wanted = at_once(data[data["measure"].isin(list(_MEASURES))])
    wanted = wanted[wanted["pairing"].isin(DIFFERENCE_PAIRINGS)]
    notes = [cells.INTERVALS.format(confidence), *cells.lengths(wanted)]
    if len(modes) > 1:
        notes.append(
            "Differences are a mode's number less the direct one of the same model; above 0, the"
            " mode has more. Where rounds differ, so do the controls of Nash distance."
        )
    else:
        notes.append("One mode alone was played: there is nothing to compare it with.")
    families = shown.drop_duplicates("model")["family"].dropna()
    if families.duplicated().any():
        notes.append("Lines join models of one family.")
    notes.append(_quality(data, shown))
    return [*notes, *cells.definitions(shown)]


def _quality(data: pd.DataFrame, shown: pd.DataFrame) -> str:
    """Say how well each model knows the game, and how often each mode gave no action."""
    found = []
    agents = pd.Series(cells.agents(shown))
    known = shown.drop_duplicates("agent").set_index("agent")
    for model, mine in agents.groupby(known["model"].reindex(agents).to_numpy(), sort=False):
        failed = [f"{known['mode'][a]}\u00a0{cells.invalid(data, a)}" for a in mine]
        found.append(f"{model}: {cells.quiz(data, mine.iloc[0])}, invalid {', '.join(failed)}")
    return f"Rules and history known, and decisions without an action: {'; '.join(found)}."
