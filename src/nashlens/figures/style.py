"""What every figure shares: its frame, canvas, legend, small helpers, and its files.

Figures are made on `matplotlib.figure.Figure` directly, never through pyplot, so that drawing
one leaves no state behind. Sizes are printed sizes: no text is smaller than 7 pt.
"""

from __future__ import annotations

import functools
import json
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from matplotlib.font_manager import FontProperties
from matplotlib.gridspec import GridSpec
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.textpath import text_to_path

from nashlens import __version__
from nashlens.errors import ConfigError, DataError
from nashlens.figures import glyphs, theme
from nashlens.figures.registry import Look
from nashlens.files import put_in_place

WIDTH = 7.0
"""Default width in inches: a page's two columns; one column has 3.5."""
_MARGIN = 0.04
"""Inches left free at both sides of a figure."""
ESTIMATE = ("estimate", "ci_low", "ci_high")
"""Columns of a number and its interval."""


class NothingToShowError(Exception):
    """Raised while a figure is drawn: its tables hold nothing to show; the message says why."""


NOT_CROSSED = "no scenario was asked under both label maps and in both option orders"
"""Why a table of parts may be empty."""


def need_rows(rows: pd.DataFrame, why: str) -> None:
    """Raise `NothingToShowError` where there are no rows, saying why."""
    if rows.empty:
        raise NothingToShowError(why)


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
            with theme.context():
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
    width = max(30, int(figure.get_figwidth() * 12.6))
    # A number stays beside its interval.
    whole = re.sub(r"\S+ \[[^][]*\]", _unbroken, text)
    figure.suptitle(textwrap.fill(whole, width), x=0.008, ha="left", fontsize=9, fontweight="bold")


def canvas(width: float, height: float) -> tuple[Figure, SubFigure]:
    """Return an empty figure, and the part of it that takes the panels.

    The panels stand in a subfigure so that its legend, the headline and the footer of `save`
    each have a room of their own in the constrained layout.

    Parameters
    ----------
    width, height : float
        Inches.
    """
    # Letters are a little wider at some resolutions than at the one of the layout.
    room = (_MARGIN / width, 0.0, 1 - 2 * _MARGIN / width, 1.0)
    figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(rect=room))
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
    font = FontProperties(family=theme.RC["font.family"], size=theme.SMALL)
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return float(width) / 72.0


def notes(body: SubFigure, lines: Sequence[str]) -> None:
    """Write below all panels, and below earlier notes, what the reader must know to read them."""
    room = body.figure.get_figwidth() if body.figure else WIDTH
    text = "\n".join([body.get_supxlabel(), *(fit(line, room - 0.2, 16.5) for line in lines)])
    body.supxlabel(text.strip("\n"), x=0.008, ha="left", fontsize=theme.SMALL)


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
    look: dict[str, Any] = {"color": theme.GREY, "fontsize": theme.SMALL}
    look |= {"ha": "center", "va": "center"}
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
    """Wrap each line of a text in the smallest font to a width.

    Intervals stay whole where they have room. Names that are too long for a line break after a
    sign in them, as `llama_` and `steered` do.
    """
    width = max(8, int(inches * characters_per_inch))
    if width >= _INTERVAL:
        text = re.sub(r"\[[^][\n]*\]", _unbroken, text)
    return "\n".join(
        textwrap.fill(" ".join(_pieces(word, width) for word in line.split(" ")), width)
        for line in text.split("\n")
    )


_INTERVAL = 16
"""Characters of a long interval."""


def _unbroken(found: re.Match[str]) -> str:
    return found[0].replace(" ", "\u00a0")


def _pieces(word: str, width: int) -> str:
    """Return a word, with a space after the last sign that a line has room for, if it is long."""
    pieces = []
    while len(word) > width:
        last = max(word.rfind(sign, 0, width) for sign in "-_./")
        if last < 1:
            break
        pieces.append(word[: last + 1])
        word = word[last + 1 :]
    return " ".join([*pieces, word])


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


def _settle(figure: Figure) -> None:
    """Round where panels stand, since the layout's last digits differ from run to run.

    Files hold names that are made from them.
    """
    for part in figure.subfigs:
        for corner in ("p0", "p1"):
            setattr(part.bbox_relative, corner, getattr(part.bbox_relative, corner).round(5))
        for ax in part.axes:
            places: tuple[Literal["original", "active"], ...] = ("original", "active")
            for which in places:
                place = ax.get_position(original=which == "original")
                left, below, width, height = (round(value, 5) for value in place.bounds)
                ax.set_position((left, below, width, height), which)


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
        figure.supxlabel(footer, x=0.008, ha="left", fontsize=theme.SMALL, color=theme.GREY)
        with glyphs.missing_glyphs() as missing:
            # Each further drawing would move panels a little, and so files by what is written
            # before.
            for _ in range(2):
                figure.draw_without_rendering()
            # No engine at all: beside one that does nothing, each file would take a drawing more.
            figure.set_layout_engine(None)
            _settle(figure)
            for name, (part, _) in zip(formats, done, strict=True):
                figure.savefig(part, format=name, dpi=dpi, metadata=metadata[name])
        return frozenset(missing)

    with theme.context():
        missing = write(footer)
        if missing:
            left = glyphs.lend_fonts(figure, missing)
            write(f"{footer}\n{glyphs.say_missing(stem.name, left)}" if left else footer)
    for part, path in done:
        put_in_place(part, path)
    return [path for _, path in done]
