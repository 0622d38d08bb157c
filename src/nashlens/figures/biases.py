"""How far surface forms (labels, order, template) move the choice, in prompts and in play."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nashlens.figures import intervals, style

TITLE = "Surface biases: what moves P(action 0) though the game stays the same"
SOURCES = {"prompts": "decision prompts (lens, last layer)", "play": "play"}
_FORMS = ["template", "label_set", "label_map", "option_order"]
_PROMPTS = ["model", "prompt_id", "game", "seat", "label_0", "label_1", *_FORMS]
_LENS = ["model", "prompt_id", "match_id", "layer", "p_action_0"]
_PLAY = ["model", "match_id", "game", "seat", "opponent", "p_action_0", *_FORMS]

Effect = tuple[str, str, "str | None", dict[str, float]]
"""Section, row's text, label set that it is limited to, weights of the strata."""


def draw(
    prompts: pd.DataFrame,
    lens: pd.DataFrame,
    play: pd.DataFrame,
    *,
    palette: str = "colorblind",
    width: float | None = None,
    confidence: float = 0.95,
    resamples: int = 1000,
) -> Figure:
    """Draw differences in P(action 0) between surface forms, a panel for each model.

    P(action 0) is first centred within game, seat and (in play) opponent, so that what differs
    is the surface form alone.

    Parameters
    ----------
    prompts, lens, play : pandas.DataFrame
        `prompts/{model}.parquet` and `lens/{model}.parquet` of one or several models, both with
        a `model` column, and `play.parquet`.
    palette : str
        Colours of the two sources.
    width : float, optional
        Inches.
    confidence, resamples
        Coverage and resamples of the bootstrap over matches.
    """
    style.require(prompts, "prompts", _PROMPTS)
    style.require(lens, "lens", _LENS)
    style.require(play, "play", _PLAY)
    data = _gather(prompts, lens, play)
    effects = _effects(data, prompts)
    if data.empty or not effects:
        reason = (
            "neither table holds a decision of a model"
            if data.empty
            else "every surface form has one level only, so nothing can be compared"
        )
        return style.nothing(TITLE, reason, width)
    models = list(dict.fromkeys(data["model"]))
    across = min(4, len(models))
    blocks = -(-len(models) // across)
    with style.theme():
        color = style.colors(palette, list(SOURCES))
        height = 1.15 + blocks * (1.0 + 0.25 * len(effects))
        width = width or style.WIDTH
        figure, body = style.canvas(width, height, TITLE)
        grid = body.subplots(blocks, across, squeeze=False, sharex=True, sharey=True)
        for ax in grid.ravel()[len(models) :]:
            ax.set_axis_off()
        for ax, model in zip(grid.ravel(), models, strict=False):
            part = data[data["model"] == model]
            found = _estimates(part, effects, str(model), confidence, resamples)
            _panel(ax, found, effects, color)
            # About two inches go to the rows' names.
            inches = (width - 2.2) / across - 0.1
            ax.set_title(style.fit(_heading(str(model), part), inches), fontsize=style.SMALL)
            ax.set_xlabel(style.fit("difference in P(action 0)", inches), fontsize=style.SMALL)
            ax.tick_params(labelbottom=True)
        reach = max(0.1, *(max(map(abs, ax.get_xlim())) for ax in grid.ravel()[: len(models)]))
        grid[0, 0].set_xlim(-reach, reach)
        style.legend(body, _handles(color, confidence), columns=3)
    return figure


def _gather(prompts: pd.DataFrame, lens: pd.DataFrame, play: pd.DataFrame) -> pd.DataFrame:
    """Return both sources as one table, P(action 0) centred within what is not surface."""
    last = lens[lens["layer"] == lens.groupby("model")["layer"].transform("max")]
    asked = (
        last[_LENS]
        .drop_duplicates(["model", "prompt_id"])
        .merge(
            prompts[_PROMPTS].drop_duplicates(["model", "prompt_id"]),
            on=["model", "prompt_id"],
            how="inner",
        )
    )
    played = play.loc[play["model"].notna() & play["template"].notna(), _PLAY]
    asked = asked.assign(source="prompts", opponent="")
    both = pd.concat([asked, played.assign(source="play")], ignore_index=True)
    cells = both.groupby(["source", "model", "game", "seat", "opponent"], sort=False)["p_action_0"]
    return both.assign(centred=both["p_action_0"] - cells.transform("mean"))


def _effects(data: pd.DataFrame, prompts: pd.DataFrame) -> list[Effect]:
    effects: list[Effect] = []
    identity = prompts[prompts["label_map"] == "identity"].drop_duplicates("label_set")
    texts = {row["label_set"]: (row["label_0"], row["label_1"]) for _, row in identity.iterrows()}
    sets = sorted(data["label_set"].dropna().unique())
    if {"identity", "swapped"} <= set(data["label_map"]):
        difference = {"identity": 1.0, "swapped": -1.0}
        effects.append(("label map", "first label - second label", None, difference))
        for name in sets:
            one, two = texts.get(name, (f"{name}: first", "second"))
            effects.append(("label map", f"  {one} - {two}", name, difference))
    if {"forward", "reversed"} <= set(data["option_order"]):
        order = {"forward": 1.0, "reversed": -1.0}
        effects.append(("option order", "listed first - listed second", None, order))
    templates = sorted(data["template"].dropna().unique(), key=lambda t: (t != "neutral", t))
    for name in templates[1:]:
        text = f"{name} - {templates[0]}"
        effects.append(("template", text, None, {name: 1.0, templates[0]: -1.0}))
    for name in sets if len(sets) > 1 else []:
        weights = {other: -1.0 / (len(sets) - 1) for other in sets if other != name} | {name: 1.0}
        text = "/".join(map(str, texts.get(name, (name,))))
        effects.append(("label set", f"{text} - other sets", None, weights))
    return effects


def _estimates(
    data: pd.DataFrame, effects: list[Effect], model: str, confidence: float, resamples: int
) -> dict[tuple[int, str], tuple[float, float, float]]:
    found = {}
    for index, (section, text, label_set, weights) in enumerate(effects):
        for source in SOURCES:
            rows = data[data["source"] == source]
            if label_set is not None:
                rows = rows[rows["label_set"] == label_set]
            values = intervals.contrast(
                rows[["centred"]].to_numpy(float),
                rows[section.replace(" ", "_")],
                weights,
                rows["match_id"],
                model,
                source,
                section,
                text,
                confidence=confidence,
                resamples=resamples,
            )
            found[index, source] = (float(values[0][0]), float(values[1][0]), float(values[2][0]))
    return found


def _panel(ax: Axes, found: dict, effects: list[Effect], color: dict[str, tuple]) -> None:
    ax.axvline(0, color="0.3", linewidth=0.9)
    for place, source in enumerate(SOURCES):
        y = np.arange(len(effects)) + (place - 0.5) * 0.36
        values = np.array([found[index, source] for index in range(len(effects))])
        ax.plot(values[:, 0], y, style.MARKERS[place], color=color[source], markersize=3.5)
        ax.hlines(y, values[:, 1], values[:, 2], color=color[source], linewidth=1.3)
    for index in range(1, len(effects)):
        if effects[index][0] != effects[index - 1][0]:
            ax.axhline(index - 0.5, color="0.6", linewidth=0.7)
    texts = [
        f"{section}:  {text}" if index == 0 or effects[index - 1][0] != section else text
        for index, (section, text, _, _) in enumerate(effects)
    ]
    ax.set_yticks(range(len(effects)), texts)
    ax.set_ylim(len(effects) - 0.5, -0.5)
    ax.grid(False, axis="y")
    style.ticks(ax.xaxis, 4)


def _heading(model: str, data: pd.DataFrame) -> str:
    lines = [model]
    for source in SOURCES:
        rows = data[data["source"] == source]
        counts = style.sizes(len(rows), "", rows["match_id"].nunique())
        lines.append(f"{source}: {counts}")
    return "\n".join(lines)


def _handles(color: dict[str, tuple], confidence: float) -> list[Any]:
    handles = [
        Line2D([], [], color=color[source], marker=style.MARKERS[place], label=label)
        for place, (source, label) in enumerate(SOURCES.items())
    ]
    note = f"bars: {confidence:.0%} intervals over matches"
    return [*handles, Line2D([], [], linestyle="none", label=note)]
