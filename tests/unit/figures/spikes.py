"""Spikes of made-up models: the larger the strength, the more draws find it."""

from __future__ import annotations

from itertools import product

import pandas as pd

from nashlens.steering.spike_summary import summarise_spikes

_CLAIMS = {
    "override": {"M5": ("power", "supported"), "M6": ("power", "supported")},
    "word": {"M5": ("false", "supported"), "M6": ("false", "supported")},
    "history": {"M1": ("power", "supported"), "M2": ("power", "supported")},
    "nash_code": {"M3": ("power", "contradicted"), "M6": ("false", "supported")},
    "answer": {"M4": ("power", "contradicted")}
    | dict.fromkeys(("M7", "M8", "M9", "M10", "M11"), ("power", "supported")),
    "answer_word": {"M4": ("false", "contradicted")}
    | dict.fromkeys(("M7", "M8", "M9", "M10", "M11"), ("false", "supported")),
    "answer_soloist": {"M10": ("false", "supported")},
}


def make_spikes_summary(models, *, found=6.0, draws=10, own=0) -> pd.DataFrame:
    """Of ten draws, `found` times the strength find a spike; a word is never taken for one.

    In the first `own` draws the model has each verdict by itself.
    """
    rows = []
    for model, (spike, claims) in product(models, _CLAIMS.items()):
        unit, strengths = "logits", (0.1, 0.5, 2.0)
        if spike in ("history", "nash_code"):
            unit, strengths = "standard deviations", (0.5, 2.0)
        layers = (1,) if spike == "history" else (27, 29)
        if spike.startswith("answer"):
            layers = (0,)
            strengths = strengths[-1:] if spike != "answer" else strengths
        forms = product(layers, strengths, claims.items())
        for layer, strength, (claim, (counts, wanted)) in forms:
            hits = min(draws, int(found * strength)) if counts == "power" else 0
            rows += [
                (model, spike, layer, strength, unit, claim, counts, wanted, draw,
                 wanted if draw < hits else "inconclusive")
                for draw in range(draws)
            ]  # fmt: skip
        rows += [
            (model, "none", 0, 0.0, unit, claim, counts, wanted, draw,
             wanted if draw < own else "inconclusive")
            for claim, (counts, wanted) in claims.items() if counts == "power"
            for draw in range(draws)
        ]  # fmt: skip
    columns = ["model", "spike", "layer", "strength", "unit", "claim", "counts", "wanted", "draw",
               "verdict"]  # fmt: skip
    return summarise_spikes(pd.DataFrame(rows, columns=columns), 0.95)
