"""The figures by name: where each is drawn, which tables it shows, what else it takes.

Modules are imported only when their figure is drawn, so that a figure depends on its own code
and not on every other figure's.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nashlens.errors import DataError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

FIGURES: dict[str, tuple[str, list[str]]] = {
    "games": ("nashlens.figures.games", ["games"]),
    "cooperation": ("nashlens.figures.cooperation", ["metrics"]),
    "pairs": ("nashlens.figures.pairs", ["metrics"]),
    "rounds": ("nashlens.figures.rounds", ["play", "metrics"]),
    "reasoning": ("nashlens.figures.reasoning", ["metrics"]),
    "selection": ("nashlens.figures.selection", ["metrics"]),
    "strategies": ("nashlens.figures.strategies", ["metrics"]),
    "probes": ("nashlens.figures.probes", ["probes"]),
    "transfer": ("nashlens.figures.transfer", ["transfer", "probes"]),
    "lens": ("nashlens.figures.lens", ["lens", "prompts", "lens_summary"]),
    "tuned": ("nashlens.figures.tuned", ["lens", "lens_tuned", "tuned_lens", "prompts"]),
    "biases": ("nashlens.figures.biases", ["prompts", "lens", "play"]),
    "steering": ("nashlens.figures.steering", ["steering"]),
    "clamping": ("nashlens.figures.clamping", ["steering"]),
    "heads": ("nashlens.figures.heads", ["heads"]),
    "findings": ("nashlens.figures.findings", ["findings", "sensitivity"]),
    "calibration": ("nashlens.figures.calibration", ["calibration"]),
}
"""Figure name -> (module, tables in the order of its `draw`'s positional arguments)."""

STUDY = tuple(name for name in FIGURES if name != "calibration")
"""The figures of a study; the other one is about planted models."""

OPTIONS: dict[str, tuple[str, ...]] = {
    "games": (),
    "cooperation": ("confidence",),
    "pairs": ("confidence",),
    "rounds": ("confidence", "resamples"),
    "reasoning": ("confidence",),
    "selection": ("confidence",),
    "strategies": ("confidence",),
    "probes": (),
    "transfer": (),
    "lens": ("confidence", "resamples", "min_label_mass"),
    "tuned": ("confidence", "resamples"),
    "biases": ("confidence", "resamples"),
    "steering": ("confidence", "resamples"),
    "clamping": ("confidence", "resamples"),
    "heads": ("confidence", "resamples"),
    "findings": (),
    "calibration": ("confidence",),
}
"""Figure name -> keyword arguments that its `draw` takes beside `palette` and `width`."""


def draw(
    name: str,
    tables: Mapping[str, pd.DataFrame],
    *,
    palette: str = "colorblind",
    width: float | None = None,
    **options: Any,
) -> Figure:
    """Draw a figure by name.

    Parameters
    ----------
    name : str
        A key of `FIGURES`.
    tables : mapping of str to pandas.DataFrame
        At least the figure's tables; several models' tables are concatenated, with a `model`
        column (`prompts` too).
    palette : str
        A seaborn or matplotlib palette.
    width : float, optional
        Width in inches; each figure has its own default.
    **options
        The figure's own, see `OPTIONS`.

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
    module, needed = FIGURES[name]
    missing = [table for table in needed if table not in tables]
    if missing:
        raise DataError(f"figure {name!r}: needs the tables {', '.join(missing)}; pass them")
    function = importlib.import_module(module).draw
    figure: Figure = function(
        *(tables[table] for table in needed), palette=palette, width=width, **options
    )
    return figure
