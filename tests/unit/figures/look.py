"""What a drawn figure says and shows."""

from __future__ import annotations

from matplotlib.text import Text


def texts(figure):
    found = " | ".join(t.get_text() for t in figure.findobj(Text) if t.get_text())
    return found.replace("\u00a0", " ")


def visible_axes(figure):
    return [ax for sub in figure.subfigs for ax in sub.axes if ax.axison]
