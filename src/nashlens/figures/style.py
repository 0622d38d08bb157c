"""What every figure shares: its frame, theme, canvas, colours, small helpers, and its files.

Figures are made on `matplotlib.figure.Figure` directly, never through pyplot, so that drawing
one leaves no state behind. Sizes are printed sizes: no text is smaller than 7 pt.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure, SubFigure
from matplotlib.font_manager import FontProperties
from matplotlib.gridspec import GridSpec
from matplotlib.lines import Line2D
from matplotlib.textpath import text_to_path
from matplotlib.ticker import FuncFormatter, MaxNLocator

from nashlens import __version__
from nashlens.errors import ConfigError, DataError
from nashlens.figures import glyphs
from nashlens.figures.registry import Look
from nashlens.files import put_in_place

WIDTH = 7.0
"""Default width in inches: a page's two columns; one column has 3.5."""
SMALL = 7.0
"""Smallest font size in points."""
GREY = "0.45"
ESTIMATE = ("estimate", "ci_low", "ci_high")
"""Columns of a number and its interval."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "h", "*")

COLORBLIND = (
    "#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161", "#fbafe4", "#949494",
    "#ece133", "#56b4e9",
)  # fmt: skip
"""Seaborn's palette of this name, the default. Seaborn takes longer to import than to draw most
figures, so only other palettes are asked of it."""

_RC: dict[Any, Any] = {
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


class NothingToShowError(Exception):
    """Raised while a figure is drawn: its tables hold nothing to show; the message says why."""


def figure(
    title: str | Mapping[str, str], message: Callable[..., str], **columns: Iterable[str]
) -> Callable[..., Any]:
    """Make a figure's `draw` of a function that draws its panels, and of its message.

    Both get the tables and the `Look`, in this order. They run under the theme, after the tables'
    columns were checked. Where the first raises `NothingToShowError`, the figure says why.

    Parameters
    ----------
    title : str or mapping of str to str
        The headline of an empty figure; a mapping where the figure's name decides.
    message : callable
        Returns the headline: in one sentence what the tables say, with its number and interval.
    **columns : iterable of str
        Each table, in order, and the columns that it must have.

    Raises
    ------
    DataError
        From `draw`, naming a table and the columns that it lacks.
    """

    def decorate(draw_panels: Callable[..., Figure]) -> Callable[..., Figure]:
        @functools.wraps(draw_panels)
        def draw(*tables: pd.DataFrame, look: Look) -> Figure:
            for (table, names), frame in zip(columns.items(), tables, strict=True):
                require(frame, table, names)
            with theme():
                try:
                    drawn = draw_panels(*tables, look)
                except NothingToShowError as reason:
                    drawn, body = canvas(look.width or WIDTH, 1.8)
                    no_data(body.subplots(), str(reason), characters=90)
                    _headline(drawn, title if isinstance(title, str) else title[look.figure])
                else:
                    _headline(drawn, message(*tables, look))
                return drawn

        return draw

    return decorate


def _headline(figure: Figure, text: str) -> None:
    """Write what the reader sees first, wrapped to the figure's width."""
    lines = textwrap.fill(text, max(30, int(figure.get_figwidth() * 12.6)))
    figure.suptitle(lines, x=0.008, ha="left", fontsize=9, fontweight="bold")


def theme() -> AbstractContextManager[None]:
    """Return the context under which figures are drawn and written."""
    return matplotlib.rc_context(_RC)


def canvas(width: float, height: float) -> tuple[Figure, SubFigure]:
    """Return an empty figure, and the part of it that takes the panels.

    The panels stand in a subfigure so that its legend, the headline and the footer of `save`
    each have a room of their own in the constrained layout.

    Parameters
    ----------
    width, height : float
        Inches.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subfigure(GridSpec(1, 1, figure=figure)[0])


def legend(body: SubFigure, handles: Sequence[Any]) -> None:
    """Put a legend above all panels, in two lines where it fits, and its bare texts below them.

    Parameters
    ----------
    body : SubFigure
        The part with the panels.
    handles : sequence
        Marks with their labels, and texts without a mark, as `note` returns them.
    """
    bare = [isinstance(mark, Line2D) and mark.get_gid() == _NOTE for mark in handles]
    marks = [mark for mark, text in zip(handles, bare, strict=True) if not text]
    said = [str(mark.get_label()) for mark, text in zip(handles, bare, strict=True) if text]
    room = body.figure.get_figwidth() if body.figure else WIDTH
    lengths = [_inches(str(mark.get_label())) for mark in marks]
    for rows in range(1, len(marks) + 1):
        columns = -(-len(marks) // rows)
        longest = [max(lengths[i : i + rows]) for i in range(0, len(lengths), rows)]
        # A mark and the space to its text, and the space between columns; on screens letters stand
        # at whole pixels, which makes texts a little wider.
        if sum(1.08 * length + 0.39 for length in longest) + 0.05 <= room:
            break
    body.legend(
        handles=marks,
        loc="outside upper left",
        ncols=columns,
        alignment="left",
        columnspacing=1.2,
        handlelength=1.8,
    )
    if said:
        text = "; ".join(said)
        notes(body, [text[:1].upper() + text[1:] + "."])


def _inches(text: str) -> float:
    """Return how wide a text of the legend is."""
    font = FontProperties(family=_RC["font.family"], size=SMALL)
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return float(width) / 72.0


def notes(body: SubFigure, lines: Sequence[str]) -> None:
    """Write below all panels, and below earlier notes, what the reader must know to read them."""
    room = body.figure.get_figwidth() if body.figure else WIDTH
    text = "\n".join([body.get_supxlabel(), *(fit(line, room - 0.2, 16.5) for line in lines)])
    body.supxlabel(text.strip("\n"), x=0.008, ha="left", fontsize=SMALL)


def no_data(axes: Axes, reason: str, characters: int = 26) -> None:
    """Write into a panel why it is empty, in place of its axes."""
    axes.grid(False)
    axes.set_xticks([])
    axes.set_yticks([])
    shade_empty(axes, textwrap.fill(f"no data: {reason}", characters))


def shade_empty(axes: Axes, text: str) -> None:
    """Shade a panel that is empty, and write why."""
    axes.set_facecolor("0.97")
    centred(axes, text)


def centred(
    axes: Axes, text: str, x: float = 0.5, y: float = 0.5, transform: Any = None, **options: Any
) -> None:
    """Write a small grey text around a point, in shares of the panel if not told otherwise."""
    look: dict[str, Any] = {"color": GREY, "fontsize": SMALL, "ha": "center", "va": "center"}
    axes.text(x, y, text, transform=transform or axes.transAxes, **(look | options))


_NOTE = "note"


def note(label: str) -> Line2D:
    """Return an entry of the legend that is only a text."""
    return Line2D([], [], linestyle="none", label=label, gid=_NOTE)


def model_columns(
    body: SubFigure, models: Sequence[str], rows: int, **options: Any
) -> dict[str, np.ndarray]:
    """Return each model's panels, one below another; after four models comes a next block."""
    across = min(4, len(models))
    blocks = -(-len(models) // across)
    grid = body.subplots(rows * blocks, across, squeeze=False, **options)
    hide(grid[-rows:, len(models) - across * (blocks - 1) :].ravel())
    return {
        model: grid[rows * (i // across) : rows * (i // across + 1), i % across]
        for i, model in enumerate(models)
    }


def hide(panels: Iterable[Axes]) -> None:
    """Leave panels blank."""
    for ax in panels:
        ax.set_axis_off()


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


def require(frame: pd.DataFrame, table: str, columns: Iterable[str]) -> None:
    """Check that a table has the columns that a figure shows.

    Raises
    ------
    DataError
        Naming the table and the columns.
    """
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise DataError(
            f"table {table!r}: has no column {', '.join(map(repr, missing))}; "
            "docs/reference/results.md has the columns of each table"
        )


def words(name: str) -> str:
    """Return a key as a reader would write it: `stag_hunt` as `stag hunt`."""
    return str(name).replace("_", " ").replace("nash", "Nash")


def fit(text: str, inches: float, characters_per_inch: float = 18.0) -> str:
    """Wrap each line of a text in the smallest font to a width."""
    width = max(8, int(inches * characters_per_inch))
    return "\n".join(textwrap.fill(line, width) for line in text.split("\n"))


def ticks(axis: Axis, most: int, *, integer: bool = False) -> None:
    """Limit an axis to so many tick intervals, at whole numbers where asked."""
    axis.set_major_locator(MaxNLocator(nbins=most, integer=integer))


def power_ticks(axis: Axis) -> None:
    """Label a logarithmic axis with powers of ten, in plain characters."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: _power(value)))


def _power(value: float) -> str:
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(value)) + 0.5)
    if not math.isclose(abs(value), 10.0**exponent):
        return f"{value:g}"
    raised = str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{'-' if value < 0 else ''}10{raised}"


def probability_axis(ax: Axes) -> None:
    """Give a panel of probabilities its axis, with a line at one half."""
    ax.axhline(0.5, color="0.4", linestyle=":", linewidth=0.8)
    ax.set(ylim=(-0.03, 1.03), yticks=[0, 0.5, 1])


def line(
    axes: Axes,
    rows: pd.DataFrame,
    x: str = "layer",
    columns: Sequence[str] = ESTIMATE,
    *,
    color: Any,
    **look: Any,
) -> None:
    """Draw a line with its interval as a band.

    Parameters
    ----------
    axes : Axes
    rows : pandas.DataFrame
    x : str
        Column of the horizontal axis.
    columns : sequence of str
        Columns of the estimate and its bounds.
    color, **look
        Of the line.
    """
    places, mean, low, high = (rows[name].to_numpy(float) for name in (x, *columns))
    axes.plot(places, mean, color=color, **look)
    axes.fill_between(places, low, high, color=color, alpha=0.2, linewidth=0)


def save(
    figure: Figure,
    stem: str | Path,
    formats: Sequence[str],
    dpi: int,
    provenance: Mapping[str, str],
) -> list[Path]:
    """Write a figure, with its provenance in a footer and in the files' metadata.

    Files depend on the figure, the format and the resolution alone (no dates, fixed ids), and
    each appears whole or not at all.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        The figure; the footer is added to it.
    stem : str or Path
        The files' path without its ending; the folder is made.
    formats : sequence of str
        `png`, `svg`, `pdf`.
    dpi : int
        Resolution of bitmaps.
    provenance : mapping of str to str
        Each table shown (`probes`, or `probes/MODEL`) and its fingerprint. The footer has the
        first seven digits; the metadata, a JSON object with `figure`, `tables` and `version`
        (PNG text `nashlens`, SVG `description`, PDF `Subject`), has all.

    Returns
    -------
    list of Path
        The files, in the order of `formats`.
    """
    stem = Path(stem)
    record = json.dumps(
        {"figure": stem.name, "tables": dict(provenance), "version": __version__}, sort_keys=True
    )
    metadata: dict[str, dict[str, Any]] = {
        "png": {"Software": "nashlens", "nashlens": record},
        "svg": {"Date": None, "Creator": "nashlens", "Description": record},
        "pdf": {"CreationDate": None, "Creator": "nashlens", "Producer": None, "Subject": record},
    }
    wrong = [name for name in formats if name not in metadata]
    if wrong:
        raise ConfigError([f"formats: {name!r} is not one of png, svg, pdf" for name in wrong])
    shown = ", ".join(f"{table}\u00a0{digest[:7]}" for table, digest in provenance.items())
    footer = textwrap.fill(f"tables: {shown or 'none'}", max(40, int(figure.get_figwidth() * 17)))
    stem.parent.mkdir(parents=True, exist_ok=True)
    done = [
        (path.with_name(path.name + ".tmp"), path)
        for path in (stem.with_name(f"{stem.name}.{name}") for name in formats)
    ]

    def write(footer: str) -> frozenset[str]:
        figure.supxlabel(footer, x=0.008, ha="left", fontsize=SMALL, color=GREY)
        with glyphs.missing_glyphs() as missing:
            # Each further drawing would move panels a little, and so files by what is written
            # before.
            for _ in range(2):
                figure.draw_without_rendering()
            # No engine at all: beside one that does nothing, each file would take a drawing more.
            figure.set_layout_engine(None)
            for name, (part, _) in zip(formats, done, strict=True):
                figure.savefig(part, format=name, dpi=dpi, metadata=metadata[name])
        return frozenset(missing)

    with theme():
        missing = write(footer)
        if missing:
            left = glyphs.lend_fonts(figure, missing)
            write(f"{footer}\n{glyphs.say_missing(stem.name, left)}" if left else footer)
    for part, path in done:
        put_in_place(part, path)
    return [path for _, path in done]
