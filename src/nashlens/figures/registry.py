"""The figures by name: where each is drawn, which tables it shows, which settings it reads.

Modules are imported only when their figure is drawn, so that a figure depends on its own code
and not on every other figure's.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from nashlens.errors import DataError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Look:
    """How a figure is drawn, besides its tables."""

    figure: str
    """Its name."""
    palette: str = "colorblind"
    """A seaborn or matplotlib palette."""
    width: float | None = None
    """Width in inches; each figure has its own default."""
    confidence: float = 0.95
    """Coverage of the tables' intervals, for the legend."""
    min_label_mass: float = 0.01
    """Layers whose median label mass is smaller are marked as unreliable."""
    page: int = 1
    """Which of its pages; only figures with `models_a_page` have more than one."""
    pages: int = 1
    """How many there are."""


class FigureEntry(NamedTuple):
    """A figure of the registry."""

    module: str
    """The module whose `draw` makes it."""
    tables: tuple[str, ...]
    """In the order of its arguments."""
    options: tuple[str, ...] = ()
    """Fields of `Look` that it reads, besides palette and width."""
    models_a_page: int | None = None
    """How many models a page of it has room for, where there are several; None: all of them."""

    def pages(self, models: int) -> int:
        """Return how many pages it has for a number of models; one model always has one."""
        if self.models_a_page is None or models == 1:
            return 1
        return max(2, -(-models // self.models_a_page))


def _entry(
    module: str, tables: str, *options: str, models_a_page: int | None = None
) -> FigureEntry:
    return FigureEntry(f"nashlens.figures.{module}", tuple(tables.split()), options, models_a_page)


FIGURES = {
    "games": _entry("games", "games"),
    "cooperation": _entry("cooperation", "metrics", "confidence"),
    "pairs": _entry("pairs", "metrics", "confidence"),
    "rounds": _entry("rounds", "rounds metrics", "confidence"),
    "reasoning": _entry("reasoning", "metrics mode_differences", "confidence"),
    "selection": _entry("selection", "metrics", "confidence"),
    "strategies": _entry("strategies", "metrics", "confidence"),
    "probes": _entry("probes", "probes"),
    "transfer": _entry("transfer", "transfer probes"),
    "effects": _entry("effects", "effects", "confidence"),
    "lens": _entry("lens", "lens_layers lens_summary", "confidence", "min_label_mass"),
    "tuned": _entry("tuned", "lens_layers lens_tuned_layers", "confidence"),
    "biases": _entry("biases", "surface_summary", "confidence"),
    "steering": _entry("doses", "steering_summary", "confidence"),
    "clamping": _entry("doses", "steering_summary", "confidence"),
    "steered_play": _entry("steered", "steered_summary", "confidence"),
    "heads": _entry("heads", "heads_summary", "confidence"),
    "patching": _entry("patching", "patching_summary", "confidence"),
    "attribution": _entry("attribution", "attribution_summary", "confidence"),
    "choir": _entry("choir", "choir", "confidence"),
    "spikes": _entry("spikes", "spikes_summary", "confidence"),
    "ladder": _entry("ladder", "ladder", "confidence"),
    "findings": _entry("findings", "findings sensitivity", models_a_page=2),
    "calibration": _entry("calibration", "calibration calibration_rates", "confidence"),
}
"""Every figure, in the order of the report."""

STUDY = tuple(name for name in FIGURES if name != "calibration")
"""The figures of a study; the other one is about planted models."""


def draw(name: str, tables: Mapping[str, pd.DataFrame], **look: Any) -> Figure:
    """Draw a figure by name.

    Parameters
    ----------
    name : str
        A key of `FIGURES`.
    tables : mapping of str to pandas.DataFrame
        At least the figure's tables; several models' tables are concatenated.
    **look
        Fields of `Look`.

    Returns
    -------
    matplotlib.figure.Figure
        The figure, to be written by `nashlens.figures.style.save`.

    Raises
    ------
    DataError
        If there is no such figure, or a table or one of its columns is missing.
    """
    if name not in FIGURES:
        raise DataError(f"figure {name!r}: not known; figures are {', '.join(FIGURES)}")
    entry = FIGURES[name]
    missing = [table for table in entry.tables if table not in tables]
    if missing:
        raise DataError(f"figure {name!r}: needs the tables {', '.join(missing)}; pass them")
    function = importlib.import_module(entry.module).draw
    figure: Figure = function(
        *(tables[table] for table in entry.tables), look=Look(figure=name, **look)
    )
    return figure
