"""Draw docs/pipeline.svg, the README's picture: the stages and how data flows between them."""

from __future__ import annotations

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

# name -> (x, y, what it holds, does it run the model)
STAGES = {
    "games": (0, 1, "payoffs and exact\nequilibria", False),
    "prompts": (1, 1, "decision prompts,\nfully crossed", False),
    "play": (2, 2, "self-play, cross-play,\nscripted opponents", True),
    "activations": (2, 1, "residual stream,\nevery layer", True),
    "probes": (3, 2, "what is decodable,\nand its controls", False),
    "lens": (3, 1, "P(action)\nby layer", False),
    "directions": (3, 0, "difference of means,\ntraining games", False),
    "circuits": (4, -1, "heads ablated, alone\nand in a group", True),
    "steering": (4, 0, "add and clamp,\nheld-out games", True),
    "findings": (5, 1, "claims on models and\nplay, with verdicts", False),
    "figures": (6, 1, "figures, table\nand report", False),
}
FLOWS = [
    ("games", "prompts"),
    ("games", "play"),
    ("prompts", "activations"),
    ("activations", "probes"),
    ("activations", "lens"),
    ("activations", "directions"),
    ("directions", "steering"),
    ("probes", "findings"),
    ("lens", "findings"),
    ("steering", "findings"),
    ("prompts", "circuits"),
    ("circuits", "findings"),
    ("findings", "figures"),
]
WIDE, HIGH = 0.84, 0.62


def draw() -> Figure:
    """Return the picture."""
    figure = Figure(figsize=(12.5, 5.5))
    axes = figure.add_axes((0.01, 0.01, 0.98, 0.98))
    axes.set(xlim=(-0.5, 6.5), ylim=(-1.5, 2.75))
    axes.axis("off")
    for name, (x, y, text, model) in STAGES.items():
        face = "#fde3c8" if model else "#e3edf6"
        box = (x - WIDE / 2, y - HIGH / 2)
        edge = "#c2681a" if model else "#3b6ea5"
        axes.add_patch(
            FancyBboxPatch(box, WIDE, HIGH, "round,pad=0,rounding_size=.08", fc=face, ec=edge)
        )
        axes.text(x, y + 0.14, name, ha="center", va="center", size=12, weight="bold")
        axes.text(x, y - 0.12, text, ha="center", va="center", size=8.5)
    for start, end in FLOWS:
        (x0, y0, *_), (x1, y1, *_) = STAGES[start], STAGES[end]
        bend = {("games", "play"): -0.25, ("prompts", "circuits"): 0.3}.get((start, end), 0.0)
        axes.add_patch(
            FancyArrowPatch(
                (x0 + WIDE / 2, y0 + 0.18 * (y1 > y0) - 0.18 * (y1 < y0)),
                (x1 - WIDE / 2, y1 - 0.18 * (y1 > y0) + 0.18 * (y1 < y0)),
                arrowstyle="-|>",
                mutation_scale=13,
                color="#555555",
                connectionstyle=f"arc3,rad={bend}",
                shrinkA=1,
                shrinkB=1,
            )
        )
    # From play over the probes to where it is judged and drawn.
    for start, end, rad in ((2.2, 4.9, -0.3), (2.0, 6.1, -0.24)):
        axes.add_patch(
            FancyArrowPatch(
                (start, 2 + HIGH / 2),
                (end, 1 + HIGH / 2),
                arrowstyle="-|>",
                mutation_scale=13,
                color="#555555",
                connectionstyle=f"arc3,rad={rad}",
            )
        )
    axes.text(-0.42, 0.05, "runs the model", size=9, color="#c2681a")
    axes.text(-0.42, -0.15, "reads files alone", size=9, color="#3b6ea5")
    return figure


if __name__ == "__main__":
    # A fixed salt and no date: the file changes only when the picture does.
    mpl.rcParams["svg.hashsalt"] = "nashlens"
    draw().savefig("docs/pipeline.svg", metadata={"Date": None})
