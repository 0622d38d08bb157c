"""Where is the answer carried? Patches between counterfactual prompts, layer by token group."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from nashlens.figures import saying, style, theme
from nashlens.figures.registry import Look
from nashlens.vocabulary.patching import DIRECTIONS, EXACT, GRADIENT, judged_direction

TITLE = "Where the model carries what the payoffs say"
_COLUMNS = ("model", "kind", "direction", "quantity", "patch", "site", "layer", "group", "method",
            *style.ESTIMATE, "n", "n_matches", "share_low")  # fmt: skip
_MAP = "PuOr_r"
"""Diverging, told apart by colour-blind readers; its middle is no effect."""
_HALF = 0.5
"""Share of the difference from which a cell is outlined; the bound of claim M11."""
_LEAST = 0.2
"""Logits from which a difference counts, as for the claim."""
_CHANGED = {
    "payoffs": "other payoffs",
    "history": "another last move",
    "labels": "the other labels",
    "order": "the other order",
}


_INTO = {"destroy": "into the design's prompt", "restore": "into the other prompt"}
_HATCH = "/////"


class _Panel(NamedTuple):
    kind: str
    quantity: str
    title: str


def _message(patching_summary: pd.DataFrame, look: Look) -> str:
    """Say where a patch moves the answer most, of the difference between the two prompts."""
    panel = _panels(list(dict.fromkeys(patching_summary["kind"])))[0]
    rows = _of(patching_summary, panel)
    # Of what was only screened nothing is said.
    rows = rows[
        rows["estimate"].notna()
        & (rows["method"] == EXACT)
        & (rows["direction"] == judged_direction(set(rows["direction"])))
    ].reset_index(drop=True)
    patches, totals = (rows[rows["site"] == site] for site in ("residual", "total"))
    if patches.empty:
        return f"No pair of prompts with {_CHANGED[panel.kind]} could be compared"
    sure = saying.beyond(patches)
    # Beyond 0 is the least; what counts is more than half of the difference.
    large = sure & (patches["share_low"] > _HALF) & (patches["estimate"].abs() > _LEAST)
    models = list(dict.fromkeys(rows["model"]))
    most = saying.furthest(patches, large if large.any() else sure)
    whole = totals[totals["model"] == most["model"]]
    of = f" of {saying.interval(whole.iloc[0])}" if len(whole) else ""
    number = (
        f"{saying.interval(most)}{of} logits at layer {int(most['layer'])},"
        f" {style.words(most['group'])}"
    )
    if len(models) == 1:
        how = "move" if sure.any() else "do not move, beyond its interval,"
        return f"Values of {_CHANGED[panel.kind]} {how} the answer of {models[0]}: most {number}"
    carried = patches.loc[large, "model"].nunique()
    return (
        f"One patch of {_CHANGED[panel.kind]} carries more than half in {carried or 'none'} of"
        f" {len(models)} models: most in {most['model']}, {number}"
    )


@style.figure(TITLE, _message, patching_summary=_COLUMNS)
def draw(patching_summary: pd.DataFrame, look: Look) -> Figure:
    """Draw what patching the residual moves, by layer and group of tokens.

    A row of panels for each model: what values from prompts with other payoffs move towards the
    other action, whatever it is called; what they move towards the pair's first label, whatever it
    means; and what values from prompts with another last move, and the same payoffs, move. Each
    direction has a row of its own. Cells that were only screened, by gradients, are hatched.
    """
    rows = patching_summary[patching_summary["site"].isin(["residual", "total"])]
    style.need_rows(
        rows[rows["site"] == "residual"],
        "no residual was patched: look at patching.sites, and at the column dropped of the pairs"
        " table",
    )
    panels = _panels(list(dict.fromkeys(rows["kind"])))
    arms = [
        (str(model), direction)
        for model, some in rows[rows["kind"] == panels[0].kind].groupby("model", sort=False)
        for direction in DIRECTIONS
        if direction in set(some["direction"])
    ]
    several = [len({arm[k] for arm in arms}) > 1 for k in range(2)]
    groups = max(rows["group"].nunique(), 4)
    height = 1.3 + len(arms) * (1.1 + 0.15 * several[1] + 0.17 * groups)
    figure, body = style.canvas(look.width or style.WIDTH, height)
    grid = body.subplots(len(arms), len(panels), squeeze=False, sharey="row")
    for line, (model, direction) in zip(grid, arms, strict=True):
        mine = rows[(rows["model"] == model) & (rows["direction"] == direction)]
        shown = pd.concat([_of(mine, panel) for panel in panels])
        # A scale for each model: one model's largest effect would hide another's. A scale of less
        # than what counts would paint noise.
        largest = max(float(shown["estimate"].abs().max()), _LEAST)
        scale = Normalize(-largest, largest)
        parts = zip((model, _INTO[direction]), several, strict=True)
        name = ", ".join(part for part, here in parts if here)
        name = f"{name}:" + (" ", "\n")[several[1]] if name else ""
        for ax, panel in zip(line, panels, strict=True):
            _heat(ax, _of(mine, panel), scale)
            apart = _of(mine[mine["site"] == "total"], panel)
            whole = saying.total(apart, "pairs", none="no pair patched here")
            ax.set_title(f"{name}{panel.title}\n{whole}", fontsize=theme.SMALL)
            name = ""
        line[0].set_ylabel("tokens, as they are read")
        bar = body.colorbar(ScalarMappable(scale, _MAP), ax=list(line), aspect=20, pad=0.02)
        bar.set_label("moved by the patch (logits)", fontsize=theme.SMALL)
    style.legend(body, _legend_entries(look.confidence, rows["method"]))
    return figure


def _panels(kinds: list[str]) -> list[_Panel]:
    """Return what is shown: the first kind's action and word part, a second kind's action part."""
    main = "payoffs" if "payoffs" in kinds else kinds[0]
    panels = [
        _Panel(main, "action_part", f"{_CHANGED[main]}:\ntowards the other action"),
        _Panel(main, "word_part", f"{_CHANGED[main]}:\ntowards the pair's first label"),
    ]
    others = [kind for kind in kinds if kind != main]
    if others:
        quantity = "place_part" if others[0] == "order" else "action_part"
        towards = {
            "order": "towards the option listed first",
            "history": "towards what the other did",
        }.get(others[0], "towards the other action")
        panels.append(_Panel(others[0], quantity, f"{_CHANGED[others[0]]}:\n{towards}"))
    return panels


def _of(rows: pd.DataFrame, panel: _Panel) -> pd.DataFrame:
    return rows[(rows["kind"] == panel.kind) & (rows["quantity"] == panel.quantity)]


def _heat(ax: Axes, rows: pd.DataFrame, scale: Normalize) -> None:
    rows = rows[rows["site"] == "residual"]
    if rows.empty:
        style.no_data(ax, "no pair")
        return
    layers = sorted(rows["layer"].astype(int).unique())
    groups = list(dict.fromkeys(rows["group"]))
    column = rows["layer"].astype(int).map(layers.index).to_numpy()
    line = rows["group"].map(groups.index).to_numpy()
    values = np.full((len(groups), len(layers)), np.nan)
    values[line, column] = rows["estimate"]
    ax.set_facecolor("0.88")
    ax.imshow(
        np.ma.masked_invalid(values), cmap=_MAP, norm=scale, aspect="auto", interpolation="nearest"
    )
    exact = (rows["method"] == EXACT).to_numpy(dtype=bool)
    for x, y in zip(column[~exact], line[~exact], strict=True):
        corner = (x - 0.5, y - 0.5)
        ax.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor="0.55", lw=0.0, hatch=_HATCH))
    sure = exact & ((rows["ci_low"] > 0) | (rows["ci_high"] < 0)).to_numpy(dtype=bool)
    ax.plot(column[sure], line[sure], ".", color="black", markersize=2.5)
    half = (rows["share_low"] > _HALF) & (rows["estimate"].abs() > _LEAST)
    large = exact & half.to_numpy(dtype=bool)
    for x, y in zip(column[large], line[large], strict=True):
        ax.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, edgecolor="black", lw=1.1))
    step = -(-len(layers) // 10)
    ax.set_xticks(range(0, len(layers), step), [str(layer) for layer in layers[::step]])
    ax.set_yticks(range(len(groups)), [style.words(group) for group in groups])
    ax.set_xlabel("layer (0: embedding)")
    ax.grid(False)


def _legend_entries(confidence: float, methods: pd.Series) -> list[Any]:
    level = f"{confidence:.0%} Student interval"
    gradient = Patch(fill=False, edgecolor="0.55", lw=0, hatch=_HATCH, label="gradient only")
    return [
        Line2D(
            [], [], marker=".", color="black", linestyle="none", markersize=5,
            label="the interval leaves out 0",
        ),
        Patch(fill=False, edgecolor="black", label="more than half of all, with its own interval"),
        *([gradient] if (methods == GRADIENT).any() else []),
        style.note(f"{level} over histories, for all patches at once"),
    ]  # fmt: skip
