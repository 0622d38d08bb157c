"""Which classical strategies agents' play mixes, and how often moves stray from them."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nashlens.figures import cells, saying, style, theme
from nashlens.figures.registry import Look
from nashlens.play.metrics.pooled import at_once, mixtures, with_strategy

TITLE = "Which strategies play looks like"
# Strategies that are the same as long as nobody plays action 1 stand side by side.
STRATEGIES = ("ALLC", "TFT", "GRIM", "WSLS", "ALLD", "RANDOM")
_KINDS = ("scripted", "self_play", "cross_play")
_FEW = 4
"""With more agents than this, only the cell over all scripts: it tells strategies apart best."""
_RIGHT = 1.4
"""Inches of the text beside each row."""


def _kinds(shown: pd.DataFrame) -> list[str]:
    """Return the pairings that are drawn."""
    kinds = [kind for kind in _KINDS if (shown["pairing"] == kind).any()]
    if shown["agent"].nunique() > _FEW and "scripted" in kinds:
        return ["scripted"]
    if "scripted" in kinds or "self_play" in kinds:
        return [kind for kind in kinds if kind != "cross_play"]
    return kinds


def _message(metrics: pd.DataFrame, look: Look) -> str:
    """Say in how many cases a strategy has more than its equal weight, and which most."""
    shown = mixtures(cells.of_models(metrics))
    rows = shown[(shown["measure"] == "strategy_weight") & shown["estimate"].notna()]
    rows = rows[rows["pairing"].isin(_kinds(shown))].reset_index(drop=True)
    if rows.empty:
        return "No match has a whole round, so no strategy can be fitted"
    large = saying.above(rows, rows["control"])
    keys = ["agent", "game", "pairing"]
    lows, number = rows.groupby(keys)["ci_low"].min(), rows[large].groupby(keys).ngroups
    most = saying.furthest(rows, large, rows["control"])
    return (
        f"A strategy stands out from equal weights in {saying.cases(number, lows, 'cases')}: most"
        f" apart {str(most['term']).replace('+', ' = ')}, {saying.interval(most)} ({most['agent']},"
        f" {style.words(most['game'])})"
    )


@style.figure(TITLE, _message, metrics=cells.COLUMNS)
def draw(metrics: pd.DataFrame, look: Look) -> Figure:
    """Draw the weights of strategies, one column each; rows are agents, blocks are games."""
    data = cells.of_models(metrics)
    shown = mixtures(data)
    style.need_rows(shown, f"{cells.EMPTY} that moves at once")
    wanted = at_once(data[data["measure"].isin(shown["measure"])])
    agents, games = cells.agents(shown), cells.games(shown)
    kinds = _kinds(shown)
    width = look.width or style.WIDTH
    names = 1.75
    across = (width - names - _RIGHT) / len(STRATEGIES)
    # Room beside each row for its numbers, and for a line each of what moved alike.
    each = max(0.27, 0.12 * (1.2 + _merged(shown, kinds))) * len(kinds)
    tall = max(0.5, max(each, 0.36) * len(agents))
    color = theme.colors(look.palette, _KINDS)
    figure, body = style.canvas(width, 2.4 + (tall + 0.55) * len(games))
    grid = body.subplots(
        len(games), len(STRATEGIES) + 1, squeeze=False, sharey=True,
        width_ratios=[*[across] * len(STRATEGIES), _RIGHT],
    )  # fmt: skip
    for game, axes in zip(games, grid, strict=True):
        part = shown[shown["game"] == game]
        for ax, name in zip(axes, STRATEGIES, strict=False):
            rows = with_strategy(part, name)
            _weights(ax, rows, agents, kinds, color)
            ax.set_title(name)
        _texts(axes[-1], part, agents, kinds)
        texts = [f"{agent}\n{cells.quality(data, agent, game)}" for agent in agents]
        axes[0].set_ylabel(style.fit(style.words(game), tall), fontsize=theme.SMALL)
        axes[0].set_yticks(range(len(agents)), [style.fit(text, names) for text in texts])
    for ax in grid[-1, :-1]:
        ax.set_xlabel("weight")
    style.legend(body, _legend_entries(kinds, color, _merged(shown, kinds)))
    style.notes(body, _notes(shown, wanted, kinds, look.confidence))
    return figure


def _places(rows: pd.DataFrame, agents: list[str], kinds: list[str]) -> np.ndarray:
    step = 0.8 / len(kinds)
    offset = rows["pairing"].map(kinds.index).to_numpy(float) - (len(kinds) - 1) / 2
    return np.asarray(rows["agent"].map(agents.index).to_numpy(float) + offset * step)


def _weights(
    ax: Axes,
    rows: pd.DataFrame,
    agents: list[str],
    kinds: list[str],
    color: dict[str, tuple],
) -> None:
    for kind in kinds:
        part = rows[rows["pairing"] == kind]
        cells.points(
            ax, part, _places(part, agents, kinds), color=color[kind], hollow=part["together"],
            marker=theme.MARKERS[_KINDS.index(kind)],
        )  # fmt: skip
    cells.separate(ax, len(agents), "0.85")
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(len(agents) - 0.5, -0.5)
    cells.share_axis(ax, 0.06)
    ax.set_xticks([0, 1], ["0", "1"])


def _texts(ax: Axes, rows: pd.DataFrame, agents: list[str], kinds: list[str]) -> None:
    """Write each row's error, size and, where strategies cannot be told apart, which."""
    ax.set_axis_off()
    ax.set_title("error, decisions")
    ax.set_xlim(0, 1)
    for (_, kind), part in rows.groupby(["agent", "pairing"], sort=False):
        if kind not in kinds:
            continue
        place = _places(part.iloc[:1], agents, kinds)[0]
        text = f"{_error(part)}, n = {int(part['n'].max())}"
        if part["estimate"].isna().all():
            text = style.fit(next(iter(part["reason"]), "not played"), _RIGHT)
        classes = [str(term) for term in part["term"] if "+" in str(term)]
        text = "\n".join([text, *(name.replace("+", " = ") for name in classes)])
        ax.text(0.0, place, text, va="center", fontsize=theme.SMALL, linespacing=1.0)


def _error(rows: pd.DataFrame) -> str:
    found = rows[rows["measure"] == "strategy_error"]
    if found.empty or pd.isna(found["estimate"].iloc[0]):
        return "no error" if found.empty else "all RANDOM"
    row = found.iloc[0]
    if pd.isna(row["ci_low"]):
        return f"{row['estimate']:.2f}"
    return f"{row['estimate']:.2f} [{cells.bounds(row['ci_low'], row['ci_high'])}]"


def _merged(shown: pd.DataFrame, kinds: list[str]) -> int:
    """Return the most classes of strategies that one cell cannot tell apart."""
    rows = shown[shown["pairing"].isin(kinds)]
    several = rows["term"].astype(str).str.contains("+", regex=False)
    counts = several.groupby([rows[key] for key in ("agent", "game", "pairing")]).sum()
    return int(counts.max())


def _legend_entries(kinds: list[str], color: dict[str, tuple], merged: int) -> list[Line2D]:
    handles = cells.opponent_entries(kinds, color, _KINDS)
    if merged:
        note = "strategies that moved alike (named at the right)"
        hollow = Line2D(
            [], [], color="0.25", marker="o", markerfacecolor="white", linestyle="none", label=note
        )
        handles.append(hollow)
    return [*handles, cells.control_entry("control: equal weights")]


def _notes(
    shown: pd.DataFrame, wanted: pd.DataFrame, kinds: list[str], confidence: float
) -> list[str]:
    notes = [cells.INTERVALS.format(confidence), *cells.lengths(wanted)]
    left = [cells.OPPONENTS[k] for k in _KINDS if k not in kinds and (wanted["pairing"] == k).any()]
    if left:
        notes.append(f"Not shown, and in metrics.parquet: play against {', '.join(left)}.")
    weights = shown[(shown["measure"] == "strategy_weight") & shown["estimate"].notna()]
    if len(weights):
        notes.append(f"Weight: {weights['definition'].iloc[0]}.")
    errors = shown[(shown["measure"] == "strategy_error") & shown["estimate"].notna()]
    if len(errors):
        notes.append(f"Error: {errors['definition'].iloc[0]}.")
    return notes
