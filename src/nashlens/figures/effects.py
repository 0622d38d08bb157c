"""What moves the decision, and from which layer on: action, word and place by layer."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from nashlens.figures import saying, scales, style, theme
from nashlens.figures.registry import Look

TITLE = "What moves the decision, and from which layer on: the action, its word or its place?"
COLUMNS = ("model", "lens", "quantity", "part", "game", "layer", *style.ESTIMATE,
           "n", "n_matches", "spread_label_sets", "lasting")  # fmt: skip
SMALL = 0.2
"""Logits within which a part is too small to matter; the claims' own threshold."""
_PARTS: dict[str, tuple[str, Any, float]] = {
    "action": ("the action", "-", 2.4),
    "word": ("the pair's first label", "-", 1.5),
    "place": ("the option listed first", "--", 1.5),
    "interaction": ("interaction", ":", 1.1),
}
"""Part -> what the decision follows, dashes and thickness."""
_PANELS = {
    "prosocial over Nash": "logit, prosocial over Nash\n(prompts where they differ)",
    "Nash over other": "logit, Nash over the other\n(prompts with a Nash action)",
}
"""Quantity -> the label of its panels."""
_NAMED = ("action", "word", "place")
"""Parts that have a name at the end of their line."""
_SYMBOLS = {"action": "o", "word": "s", "place": "D", "interaction": "v"}


def _message(effects: pd.DataFrame, look: Look) -> str:
    """Say which parts move the decision at the last layer."""
    rows = effects[effects["game"].isna() & (effects["lens"] == "logit")]
    for quantity in _PANELS:
        mine = rows[(rows["quantity"] == quantity) & rows["part"].isin(_NAMED)]
        if len(mine):
            break
    if mine.empty:
        return "No prompt has a Nash action, so nothing is known of what moves the decision"
    end = mine[mine["layer"] == mine.groupby("model")["layer"].transform("max")]
    end = end.reset_index(drop=True)
    models = list(dict.fromkeys(end["model"]))
    large = end["lasting"].astype(bool)
    most = saying.furthest(end, large)
    number = f"{saying.interval(most)} logits"
    if len(models) == 1:
        moving = end.loc[large, "part"].tolist()
        still = [name for name in _NAMED if name not in moving]
        if not moving:
            return (
                f"Neither action, word nor place moves the decision of {models[0]} by {SMALL:g}"
                f" logits at the last layer: at most the {most['part']}, {number}"
            )
        rest = f", not the {saying.listed(still, 'or the')}" if still else ""
        return (
            f"The {saying.listed(moving, 'and the')} {'moves' if len(moving) == 1 else 'move'} the"
            f" decision of {models[0]}{rest}: at the last layer the {most['part']} by {number}"
        )
    counts = end[large].groupby("part")["model"].nunique()
    said = [f"the {name} in {counts.get(name, 0) or 'none'}" for name in _NAMED]
    return (
        f"Of {len(models)} models, the decision follows {saying.listed(said)}: most the"
        f" {most['part']} in {most['model']}, {number}"
    )


@style.figure(TITLE, _message, effects=COLUMNS)
def draw(effects: pd.DataFrame, look: Look) -> Figure:
    """Draw the parts of both logits by layer, a column for each model."""
    every = effects[effects["game"].isna()]
    style.need_rows(every, style.NOT_CROSSED)
    models = list(dict.fromkeys(every["model"]))
    across = min(4, len(models))
    width = look.width or style.WIDTH
    height = 1.5 + 5.2 * -(-len(models) // across)
    color: dict[str, Any] = {**theme.colors(look.palette, _NAMED), "interaction": theme.GREY}
    figure, body = style.canvas(width, height)
    columns = style.model_columns(body, models, len(_PANELS), sharey=True)
    reach = max(1.0, float(every[list(style.ESTIMATE)].abs().max().max()))
    for index, (model, axes) in enumerate(columns.items()):
        mine = every[every["model"] == model]
        for row, (ax, quantity) in enumerate(zip(axes, _PANELS, strict=True)):
            rows = mine[mine["quantity"] == quantity]
            heading = _heading(str(model) if row == 0 else "", rows)
            ax.set_title(style.fit(heading, width / across - 0.3), fontsize=theme.SMALL)
            _parts(ax, rows, color, reach)
            if index % across == 0:
                ax.set_ylabel(_PANELS[quantity], fontsize=theme.SMALL)
        axes[-1].set_xlabel("layer", fontsize=theme.SMALL)
    style.legend(body, _legend_entries(color, look.confidence))
    return figure


def _heading(model: str, rows: pd.DataFrame) -> str:
    """Return the model, the sizes, and from which layer on each part is large."""
    lines = [model] * bool(model)
    if len(rows):
        lines.append(saying.largest_sizes(rows, "prompts"))
        lines.append(_since(rows[(rows["lens"] == "logit") & rows["lasting"]]))
    return "\n".join(lines)


def _since(lasting: pd.DataFrame) -> str:
    first = lasting.groupby("part")["layer"].min()
    large = [f"{part} from layer {first[part]} on" for part in _NAMED if part in first.index]
    small = [part for part in _NAMED if part not in first.index]
    return "; ".join(
        [", ".join(large)] * bool(large) + [f"not {' nor '.join(small)}"] * bool(small)
    )


def _parts(ax: Axes, rows: pd.DataFrame, color: dict[str, Any], reach: float) -> None:
    if rows.empty:
        style.no_data(ax, "no prompt of this kind")
        return
    ax.axhspan(-SMALL, SMALL, color="0.92", linewidth=0, zorder=0)
    ax.axhline(0, color=theme.GREY, linewidth=0.8)
    last = int(rows["layer"].max())
    # The action is drawn last, over all others.
    for part, (_, dashes, thick) in reversed(_PARTS.items()):
        found = rows[(rows["part"] == part) & (rows["lens"] == "logit")].sort_values("layer")
        look: dict[str, Any] = {"color": color[part], "linestyle": dashes, "linewidth": thick}
        style.line(ax, found, **look)
        lasting = found[found["lasting"]]
        if len(lasting):
            start = lasting.iloc[0]
            ax.plot(
                start["layer"], start["estimate"], _SYMBOLS[part], color=color[part], markersize=6,
                markeredgecolor="white", markeredgewidth=0.8, zorder=5,
            )  # fmt: skip
    _axes(ax, last, reach)
    _names(ax, rows[(rows["layer"] == last) & (rows["lens"] == "logit")], color)


def _axes(ax: Axes, last: int, reach: float) -> None:
    # Linear where a part is too small to matter.
    scales.logit_axis(ax, SMALL, 1.3 * reach)
    ax.set_xlim(0.5, last + 0.5)
    scales.ticks(ax.xaxis, 8, integer=True)


def _names(ax: Axes, ends: pd.DataFrame, color: dict[str, Any]) -> None:
    """Write each part's name at the end of its line, none over another."""
    values = ends.set_index("part")["estimate"].loc[list(_NAMED)].sort_values()
    heights = ax.transAxes.inverted().transform(
        ax.transData.transform([(0.0, value) for value in values])
    )[:, 1]
    for k in range(1, len(heights)):
        heights[k] = max(heights[k], heights[k - 1] + 0.065)
    for part, height in zip(values.index, heights, strict=True):
        style.centred(ax, part, 1.01, height, color=color[part], ha="left")


def _legend_entries(color: dict[str, Any], confidence: float) -> list[Any]:
    lines = [
        Line2D([], [], color=color[part], linestyle=dashes, linewidth=thick, label=label,
               marker=_SYMBOLS[part], markersize=4)
        for part, (label, dashes, thick) in _PARTS.items()
    ]  # fmt: skip
    return [
        *lines,
        Patch(color="0.92", label=f"within {SMALL:g} logits: too small to matter"),
        style.note(
            f"bands: {confidence:.0%} Student interval; marks: large from here to the end;"
            " interaction: how much the action hangs on word and place"
        ),
    ]
