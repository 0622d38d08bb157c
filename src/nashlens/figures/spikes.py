"""What is a null worth? Power to find effects of known size, by strength and layer."""

from __future__ import annotations

from itertools import cycle, zip_longest
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nashlens.contrasts import POWER
from nashlens.figures import saying, style, theme
from nashlens.figures.registry import Look
from nashlens.steering.spike_summary import NONE, worth

TITLE = "What a null is worth: known effects, put into the model"
_COLUMNS = ("model", "spike", "layer", "strength", "unit", "claim", "counts", "wanted",
            *style.ESTIMATE, "n")  # fmt: skip
_KINDS = {
    "override": "an override",
    "word": "the same by word only",
    "history": "history, consumed",
    "nash_code": "a Nash code, inert",
    "answer": "what an intervention does",
    "answer_word": "that by word only",
    "answer_soloist": "by one component alone",
}
"""Kind of spike -> heading of its panel."""
_CLAIMS = ("M6", "M5", "M1", "M2", "M3", "M4", "M7", "M8", "M9", "M10", "M11")
_COLUMNS_OF_PANELS = 4
_LINES = ("-", "--", ":", "-.")
_STROKES = ("(\u2014)", "(- -)", "(\u00b7\u00b7)", "(-\u00b7)")
_UNITS = {"logits": "strength (logits)", "standard deviations": "strength (SD)"}
_APART = 0.07
"""Distance, in strengths, between claims and layers, so that equal ones are seen side by side."""


def _message(spikes_summary: pd.DataFrame, look: Look) -> str:
    """Say, of overrides, from which strength on they would have been found."""
    models = list(dict.fromkeys(spikes_summary["model"]))
    asked = worth(spikes_summary).query("claim == 'M6' and spike_unit != ''")
    found = asked[asked["spike_found"].notna()]
    who = models[0] if len(models) == 1 else f"{len(found)} of {len(models)} models"
    if asked.empty:
        return "No override was put into a model, so no power is known for it"
    if found.empty:
        name = models[0] if len(models) == 1 else "All models"
        return f"{name}: an override is seen without a spike, so no power is known for it"
    sizes = found["spike_found"].to_numpy(float)
    if np.isinf(sizes).all():
        return f"In {who}, none of the overrides put in was found"
    finite = found[np.isfinite(sizes)]
    least, most = finite["spike_found"].min(), finite["spike_found"].max()
    size = f"{least:g}" if least == most else f"{least:g} to {most:g}"
    if np.isinf(sizes).any():
        size += " (or none)"
    wrong = float(found["spike_false"].max())
    mistaken = f"up to {wrong:.0%} of draws" if wrong > 0 else "none"
    share = _share(spikes_summary, finite)
    return (
        f"In {who}, an override of {size} logits is found{share};"
        f" one of the wrong kind is taken for it in {mistaken}"
    )


def _share(summary: pd.DataFrame, found: pd.DataFrame) -> str:
    """Return in which share of draws each model's smallest override was found, at least.

    In a model it is the share at the layer where most draws find it, as `worth` says.
    """
    sizes = found.rename(columns={"spike_found": "strength"})[["model", "claim", "strength"]]
    rows = summary[summary["spike"] == "override"].merge(sizes)
    rows = rows.sort_values(["estimate", "ci_low"], ascending=False).drop_duplicates("model")
    return f" in {saying.interval(rows.iloc[-1], '.0%')} of draws"


@style.figure(TITLE, _message, spikes_summary=_COLUMNS)
def draw(spikes_summary: pd.DataFrame, look: Look) -> Figure:
    """Draw the share of draws with the verdict that counts, a panel for each kind of spike.

    Rows of panels for each model. Colour and mark: the claim; line: the layer of the spike.
    """
    if (spikes_summary["spike"] == NONE).all():
        raise style.NothingToShowError("nothing was put into a model")
    models = list(dict.fromkeys(spikes_summary["model"]))
    kinds = [kind for kind in _KINDS if (spikes_summary["spike"] == kind).any()]
    columns = min(len(kinds), _COLUMNS_OF_PANELS)
    lines = -(-len(kinds) // columns)
    # More claims than a palette has colours: those of one panel differ in colour.
    color = dict(
        zip(_CLAIMS, cycle(theme.colors(look.palette, _CLAIMS[:6]).values()), strict=False)
    )
    figure, body = style.canvas(look.width or style.WIDTH, 1.35 + 2.0 * len(models) * lines)
    grid = body.subplots(len(models) * lines, columns, squeeze=False, sharey=True)
    for k, model in enumerate(models):
        rows = spikes_summary[spikes_summary["model"] == model]
        of_model = grid[k * lines : (k + 1) * lines]
        for ax, kind in zip_longest(of_model.flat, kinds):
            if kind is None:
                ax.set_visible(False)
            else:
                _panel(ax, rows, kind, color)
        draws = saying.counted(rows.loc[rows["spike"] != NONE, "n"])
        name = "" if len(models) == 1 else f"{model}\n"
        for line in of_model:
            line[0].set_ylabel(f"{name}share (n = {draws} draws)")
    style.legend(body, _legend_entries(spikes_summary, color, look.confidence))
    return figure


def _panel(ax: Axes, rows: pd.DataFrame, kind: str, color: dict[str, Any]) -> None:
    spiked = rows[rows["spike"] == kind]
    ax.set_title(_KINDS[kind])
    if spiked.empty:
        style.no_data(ax, "not put into this model")
        return
    ax.set_ylim(-0.05, 1.05)
    ax.axhline(POWER, color="0.5", lw=0.8, ls=":")
    strengths, layers = (sorted(spiked[name].unique()) for name in ("strength", "layer"))
    claims = [claim for claim in _CLAIMS if (spiked["claim"] == claim).any()]
    curves = [(claim, layer) for claim in claims for layer in layers]
    for k, (claim, layer) in enumerate(curves):
        aside = _APART * (k - (len(curves) - 1) / 2)
        some = spiked[(spiked["claim"] == claim) & (spiked["layer"] == layer)]
        some = some.sort_values("strength")
        places = [1 + strengths.index(strength) + aside for strength in some["strength"]]
        mean, low, high = (some[name].to_numpy(float) for name in style.ESTIMATE)
        bars = np.maximum([mean - low, high - mean], 0.0)
        look = {"color": color[claim], "marker": _mark(claim), "ls": _LINES[k % len(layers) % 4]}
        ax.errorbar(places, mean, yerr=bars, ms=4, lw=1.1, elinewidth=0.6, **look)
        own = rows[(rows["spike"] == NONE) & (rows["claim"] == claim)]
        if len(own) and own["wanted"].iloc[0] == some["wanted"].iloc[0] and layer == layers[0]:
            ax.plot(aside, own["estimate"].iloc[0], _mark(claim), mfc="white", mec=color[claim])
    ax.set_xticks(range(len(strengths) + 1), ["0", *(f"{strength:g}" for strength in strengths)])
    ax.set_xlim(-0.5, len(strengths) + 0.5)
    ax.set_xlabel(_UNITS.get(spiked["unit"].iloc[0], "strength"))
    names = [f"{layer} {_STROKES[k % 4]}" for k, layer in enumerate(layers)]
    if layers != [0]:
        ax.set_title(f"{_KINDS[kind]}\nafter layer {', '.join(names)}")


def _mark(claim: str) -> str:
    return theme.MARKERS[_CLAIMS.index(claim) % len(theme.MARKERS)]


def _legend_entries(summary: pd.DataFrame, color: dict[str, Any], confidence: float) -> list[Any]:
    wanted = summary.drop_duplicates("claim").set_index("claim")["wanted"]
    shown = [claim for claim in _CLAIMS if claim in wanted.index]
    claims = [
        Line2D([], [], color=color[claim], marker=_mark(claim), ms=4, ls="none", label=claim)
        for claim in shown
    ]
    sought = [
        f"{', '.join(c for c in shown if wanted[c] == verdict)} {verdict}"
        for verdict in dict.fromkeys(wanted[shown])
    ]
    own = Line2D([], [], marker="o", mfc="white", mec="black", ls="none", label="without a spike")
    needed = Line2D([], [], color="0.5", ls=":", lw=0.8, label=f"power {POWER:g}")
    bars = style.note(f"bars: {confidence:.0%} Wilson interval over draws")
    counted = style.note(
        f"share: judged as sought ({'; '.join(sought)}), of draws not judged so without a spike"
    )
    return [*claims, own, needed, counted, bars]
