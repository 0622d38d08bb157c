"""Payoff matrices with their equilibria: what each game asks of a player."""

from __future__ import annotations

import logging
import math
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from nashlens.figures import glyphs, saying, style, theme
from nashlens.figures.registry import Look

log = logging.getLogger(__name__)

TITLE = "Games: payoffs and equilibria"
# fmt: off
_COLUMNS = [
    "game", "variant", "title", "action_0", "action_1", "row_00", "row_01", "row_10", "row_11",
    "col_00", "col_01", "col_10", "col_11", "pure_equilibria", "mixed_row", "mixed_col",
    "continuum", "zero_sum",
]
# fmt: on
_TEXTS = ("title", "action_0", "action_1")


def _named(games: pd.DataFrame) -> pd.DataFrame:
    """Return the games; a name stands in the place of each text that no font draws."""
    names = (games["game"].map(style.words), "action 0", "action 1")
    drawn = {
        column: games[column].where(games[column].astype(str).map(glyphs.drawable), name)
        for column, name in zip(_TEXTS, names, strict=True)
    }
    return games.assign(**drawn)


def _message(games: pd.DataFrame, look: Look) -> str:
    """Say in how many games the only equilibrium is not what is best for both together."""
    first = _named(games[games["variant"] == 0])
    apart = [str(game["title"]) for _, game in first.iterrows() if _conflict(game)]
    number = str(len(apart)) if apart else "none"
    which = f": {saying.listed(apart)}" if 0 < len(apart) <= 2 else ""
    return (
        f"In {number} of {len(first)} games the only equilibrium earns both together less than"
        f" another cell{which}"
    )


def _conflict(game: pd.Series) -> bool:
    """Return whether the only equilibrium misses the largest sum of payoffs."""
    pure, best = _pure(game), max(_sums(game).values())
    return len(pure) == 1 and not game["zero_sum"] and _sums(game)[next(iter(pure))] < best


@style.figure(TITLE, _message, games=_COLUMNS)
def draw(games: pd.DataFrame, look: Look) -> Figure:
    """Draw one payoff matrix a game (variant 0)."""
    first = games[games["variant"] == 0]
    style.need_rows(first, "the games table holds no variant 0")
    texts = dict.fromkeys(first[list(_TEXTS)].astype(str).to_numpy().ravel())
    if boxes := [text for text in texts if not glyphs.drawable(text)]:
        log.warning("no installed font draws %s: names stand in their place", ", ".join(boxes))
    first = _named(first)
    width = look.width or style.WIDTH
    across = min(len(first), max(1, int(width / 1.75)))
    down = math.ceil(len(first) / across)
    color = theme.colors(look.palette, ["row", "column", "nash"])
    figure, body = style.canvas(width, 1.1 + 2.45 * down)
    axes = body.subplots(down, across, squeeze=False).ravel()
    for ax, (_, game) in zip(axes, first.iterrows(), strict=False):
        drawn = int(((games["game"] == game["game"]) & (games["variant"] != 0)).sum())
        _matrix(ax, game, drawn, color)
    style.hide(axes[len(first) :])
    row, column, nash = color.values()
    handles = [
        Patch(facecolor=row, label="row player, payoff lower left"),
        Patch(facecolor=column, label="column player, payoff upper right"),
        Patch(facecolor="none", edgecolor=nash, linewidth=2.2, label="NE: pure equilibrium"),
        Patch(facecolor="0.88", label="Σ: largest payoff sum (prosocial)"),
        style.note("mixed: P(first action) in the mixed equilibrium"),
    ]
    style.legend(body, handles)
    return figure


def _matrix(ax: Axes, game: pd.Series, variants: int, color: dict[str, tuple]) -> None:
    actions = [str(game["action_0"]), str(game["action_1"])]
    pure, sums = _pure(game), _sums(game)
    best = max(sums.values())
    ax.set(xlim=(0, 2), ylim=(2, 0), aspect="equal")
    ax.grid(False)
    ax.spines[:].set_visible(False)
    for (i, j), total in sums.items():
        prosocial = not game["zero_sum"] and math.isclose(total, best)
        face = "0.88" if prosocial else "white"
        ax.add_patch(
            Rectangle((j, i), 1, 1, facecolor=face, edgecolor="0.6", linewidth=0.8, clip_on=False)
        )
        for player, x, y, side in (("row", 0.12, 0.82, "left"), ("column", 0.88, 0.18, "right")):
            ax.text(
                j + x, i + y, f"{game[f'{player[:3]}_{i}{j}']:g}", ha=side, va="center",
                color=color[player], fontsize=9, fontweight="bold",
            )  # fmt: skip
        if (i, j) in pure:
            frame: dict[str, Any] = {"fill": False, "edgecolor": color["nash"], "linewidth": 2.2}
            ax.add_patch(Rectangle((j + 0.04, i + 0.04), 0.92, 0.92, **frame))
        marks = [mark for mark, on in (("NE", (i, j) in pure), ("Σ", prosocial)) if on]
        ax.text(j + 0.5, i + 0.5, " ".join(marks), ha="center", va="center", fontsize=7)
    ax.set_xticks([0.5, 1.5], [_short(name) for name in actions])
    ax.set_yticks([0.5, 1.5], [_short(name) for name in actions], rotation=90, va="center")
    ax.tick_params(length=0, pad=1, top=True, labeltop=True, bottom=False, labelbottom=False)
    ax.set_title(_short(str(game["title"]), 24), fontsize=8, fontweight="bold")
    ax.set_xlabel(_below(game, variants), fontsize=theme.SMALL, labelpad=2)
    # The colours say whose actions these are.
    ax.tick_params(axis="y", labelcolor=color["row"])
    ax.tick_params(axis="x", labelcolor=color["column"])


def _pure(game: pd.Series) -> set[tuple[int, ...]]:
    return {tuple(map(int, cell.split(","))) for cell in game["pure_equilibria"].split(";") if cell}


def _sums(game: pd.Series) -> dict[tuple[int, ...], float]:
    return {(i, j): game[f"row_{i}{j}"] + game[f"col_{i}{j}"] for i in (0, 1) for j in (0, 1)}


def _below(game: pd.Series, variants: int) -> str:
    if game["continuum"]:
        text = "a continuum of equilibria"
    elif pd.isna(game["mixed_row"]) or pd.isna(game["mixed_col"]):
        text = "no mixed equilibrium"
    else:
        text = f"mixed: row {game['mixed_row']:.2f}, col. {game['mixed_col']:.2f}"
    return text + (f"\n+ {variants} payoff variants" if variants else "")


def _short(text: str, characters: int = 11) -> str:
    return text if len(text) <= characters else text[: characters - 1] + "…"
