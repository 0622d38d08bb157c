"""The look of all figures: their settings, colours and markers.

Seaborn takes longer to import than to draw most figures. So what figures have of its style and of
its palette stands here, and only other palettes are asked of it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import matplotlib
from matplotlib.colors import to_rgb

from nashlens.errors import ConfigError
from nashlens.figures import glyphs

SMALL = 7.0
"""Smallest font size in points."""
GREY = "0.45"
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "h", "*")

COLORBLIND = (
    "#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161", "#fbafe4", "#949494",
    "#ece133", "#56b4e9",
)  # fmt: skip
"""Seaborn's palette of this name, the default."""

RC: dict[Any, Any] = {
    # A figure's layout engine is its own, whatever the user's settings say.
    "figure.autolayout": False,
    "figure.constrained_layout.use": False,
    # Seaborn's style "ticks", as far as it is not set below.
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "axes.labelcolor": "0.15",
    "text.color": "0.15",
    "axes.spines.left": True,
    "axes.spines.bottom": True,
    "xtick.color": "0.15",
    "ytick.color": "0.15",
    "xtick.direction": "out",
    "ytick.direction": "out",
    "xtick.bottom": True,
    "ytick.left": True,
    "xtick.top": False,
    "ytick.right": False,
    "grid.linestyle": "-",
    "lines.solid_capstyle": "round",
    "patch.edgecolor": "w",
    "patch.force_edgecolor": True,
    "font.family": glyphs.FONT,
    "font.size": 8.0,
    "axes.titlesize": 8.0,
    "axes.titleweight": "normal",
    "axes.titlelocation": "left",
    "axes.labelsize": 8.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.edgecolor": "0.3",
    "grid.color": "0.9",
    "grid.linewidth": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "legend.title_fontsize": SMALL,
    "legend.frameon": False,
    "lines.linewidth": 1.3,
    "lines.markersize": 3.5,
    # Paths look alike wherever the file is opened; a fixed salt keeps SVG ids the same.
    "svg.fonttype": "path",
    # A title or a label of a user's may hold dollar signs: they are text, and no formula.
    "text.parse_math": False,
    "svg.hashsalt": "nashlens",
    "pdf.fonttype": 42,
}


def context() -> AbstractContextManager[None]:
    """Return the context under which figures are drawn and written."""
    return matplotlib.rc_context(RC)


def colors(palette: str, keys: Sequence[str]) -> dict[str, tuple[float, float, float]]:
    """Return one colour for each key, in the palette's order.

    Raises
    ------
    ConfigError
        If there is no such palette.
    """
    if palette == "colorblind":
        return dict(zip(keys, map(to_rgb, itertools.cycle(COLORBLIND)), strict=False))
    import seaborn

    try:
        values = seaborn.color_palette(palette, max(len(keys), 1))
    except ValueError:
        raise ConfigError(
            [f"palette: {palette!r} is not a seaborn or matplotlib palette; try 'colorblind'"]
        ) from None
    return {key: tuple(value) for key, value in zip(keys, values, strict=False)}
