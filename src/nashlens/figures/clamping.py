"""Clamping the projection on the Nash direction: response to the clamped value."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from nashlens.figures.doses import Dose, draw_doses

TITLE = "Clamping: P(action 1) when the Nash projection is set, held-out games"


def draw(
    steering: pd.DataFrame,
    *,
    palette: str = "colorblind",
    width: float | None = None,
    confidence: float = 0.95,
    resamples: int = 1000,
) -> Figure:
    """Draw P(action 1) against the clamped value, by layer.

    Parameters
    ----------
    steering : pandas.DataFrame
        `steering/{model}.parquet` of one or several models; rows of kind `clamp` are shown.
    palette : str
        Its first colour is the Nash direction's.
    width : float, optional
        Inches.
    confidence, resamples
        Coverage and resamples of the bootstrap over matches.
    """
    dose = Dose("clamp", TITLE, "clamped at (training SD)", "c")
    return draw_doses(
        steering, dose, palette=palette, width=width, confidence=confidence, resamples=resamples
    )
