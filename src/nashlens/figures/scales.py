"""Axes that figures share: how many ticks they have, powers of ten, probabilities."""

from __future__ import annotations

import math

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, MaxNLocator


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
