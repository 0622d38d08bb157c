"""Adding the Nash direction to the residual stream: dose and response on held-out games."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from nashlens.figures.doses import Dose, draw_doses

TITLE = "Steering: P(action 1) when the Nash direction is added, held-out games"


def draw(
    steering: pd.DataFrame,
    *,
    palette: str = "colorblind",
    width: float | None = None,
    confidence: float = 0.95,
    resamples: int = 1000,
) -> Figure:
    """Draw P(action 1) against alpha, by layer, beside random directions.

    Parameters
    ----------
    steering : pandas.DataFrame
        `steering/{model}.parquet` of one or several models; rows of kind `add` are shown.
    palette : str
        Its first colour is the Nash direction's.
    width : float, optional
        Inches.
    confidence, resamples
        Coverage and resamples of the bootstrap over matches.
    """
    dose = Dose("add", TITLE, r"$\alpha$ (mean residual norms)", r"$\alpha$")
    return draw_doses(
        steering, dose, palette=palette, width=width, confidence=confidence, resamples=resamples
    )
