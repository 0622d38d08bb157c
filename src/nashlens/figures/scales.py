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


def logit_axis(ax: Axes, linear: float, reach: float) -> None:
    """Give a panel of logits its vertical axis, linear within a size and logarithmic beyond."""
    ax.set_yscale("symlog", linthresh=linear, linscale=0.7)
    ax.set_ylim(-reach, reach)
    sizes = [tick for tick in (0.2, 1.0, 5.0, 25.0) if tick <= reach]
    places = [*(-tick for tick in reversed(sizes)), 0.0, *sizes]
    ax.set_yticks(places, [f"{tick:g}" for tick in places])
    ax.yaxis.minorticks_off()


def probability_axis(ax: Axes) -> None:
    """Give a panel of probabilities its axis, with a line at one half."""
    ax.axhline(0.5, color="0.4", linestyle=":", linewidth=0.8)
    ax.set(ylim=(-0.03, 1.03), yticks=[0, 0.5, 1])
