"""Write what the README says about the stages: its picture, and what its table says they write.

    python -m docs.pipeline

Both come from the rules; only the places of the boxes and the words are written here.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from workflow.loading import load_workflow
from workflow.provenance import Provenance

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "pipeline.svg"

# name -> (x, y, what it holds)
BOXES = {
    "games": (0, 1, "payoffs and exact\nequilibria"),
    "prompts": (1, 1, "decision prompts,\nin whole blocks"),
    "play": (2, 2, "self-play, cross-play,\nscripted opponents"),
    "activations": (2, 1, "residual stream,\nevery layer"),
    "probes": (3, 2, "what is decodable,\nand its controls"),
    "lens": (3, 1, "P(action)\nby layer"),
    "directions": (3, 0, "difference of means,\ntraining games"),
    "circuits": (4, -1, "heads ablated, singly\nand in a group"),
    "patching": (3, -1, "values of prompts that\ndiffer in one thing"),
    "attribution": (5, -1, "who writes the answer,\nand what that causes"),
    "spikes": (4, 2, "known effects put in:\nare they found?"),
    "steering": (4, 0, "add and clamp,\nheld-out games"),
    "ladder": (5, 0, "from the published to\nthe controlled protocol"),
    "findings": (5, 1, "claims on models and\nplay, with verdicts"),
    "figures": (6, 1, "figures, table\nand report"),
}
# Rules whose box is not the one called as their file.
ELSEWHERE = {
    "extract_untrained": "activations",
    "fit_directions": "directions",
    "build_report": "figures",
}
# Files of rules without a box: all that runs a model reads it, the quiz only checks play, a plan is
# about the others, and experiments are compared from outside.
HIDDEN = {"models", "quiz", "calibration", "plan", "compare"}
# Arrows that would cross a box if they were straight.
BENDS = {
    ("games", "play"): -0.25,
    ("prompts", "circuits"): 0.3,
    ("play", "findings"): -0.3,
}
WIDE, HIGH = 0.84, 0.62


def box_of(rule: Any) -> str | None:
    """Return the box that a rule is in, if it is in one."""
    file = Path(rule.snakefile).stem
    return None if file in HIDDEN else ELSEWHERE.get(rule.name, file)


def flows(rules: Mapping[str, Any], provenance: Provenance) -> set[tuple[str, str]]:
    """Return the arrows between boxes, as the inputs of the rules say.

    Everything reads the games and the prompts, and the figures show everything: so of these
    arrows only those are drawn that no longer way says already.
    """
    found: set[tuple[str, str]] = set()
    ends = {name for name in rules if name == "build_report" or name.startswith("draw_")}
    queue: list[tuple[str, dict[str, str]]] = [(name, {}) for name in ends - {"draw_calibration"}]
    done = []
    while queue:
        stage = queue.pop()
        if stage in done:
            continue
        done.append(stage)
        makers = provenance.upstream(*stage)
        queue += makers
        found |= {(box_of(rules[name]), box_of(rules[stage[0]])) for name, _ in makers}
    found = {(a, b) for a, b in found if a and b and a != b}
    common = {(a, b) for a, b in found if a in ("games", "prompts") or b == "figures"}
    return {(a, b) for a, b in found if (a, b) not in common or not _leads(a, b, found - {(a, b)})}


def _leads(start: str, end: str, arrows: Iterable[tuple[str, str]]) -> bool:
    return any(a == start and (b == end or _leads(b, end, arrows)) for a, b in arrows)


def running(rules: Mapping[str, Any]) -> set[str]:
    """Return the boxes in which a rule runs a model."""
    return {box_of(rule) for rule in rules.values() if "batch_tokens" in rule.resources}


def draw(arrows: Iterable[tuple[str, str]], running: Collection[str]) -> Figure:
    """Return the picture, given the arrows and the boxes that run a model.

    Each arrow's id in the SVG is `START-to-END`.
    """
    figure = Figure(figsize=(12.5, 5.5))
    axes = figure.add_axes((0.01, 0.01, 0.98, 0.98))
    axes.set(xlim=(-0.5, 6.5), ylim=(-1.5, 2.75))
    axes.axis("off")
    for name, (x, y, text) in BOXES.items():
        box = (x - WIDE / 2, y - HIGH / 2)
        face, edge = ("#fde3c8", "#c2681a") if name in running else ("#e3edf6", "#3b6ea5")
        axes.add_patch(
            FancyBboxPatch(box, WIDE, HIGH, "round,pad=0,rounding_size=.08", fc=face, ec=edge)
        )
        axes.text(x, y + 0.14, name, ha="center", va="center", size=12, weight="bold")
        axes.text(x, y - 0.12, text, ha="center", va="center", size=8.5)
    for start, end in sorted(arrows):
        arrow = FancyArrowPatch(
            *_ends(start, end),
            arrowstyle="-|>",
            mutation_scale=13,
            color="#555555",
            connectionstyle=f"arc3,rad={BENDS.get((start, end), 0.0)}",
            shrinkA=1,
            shrinkB=1,
        )
        arrow.set_gid(f"{start}-to-{end}")
        axes.add_patch(arrow)
    axes.text(-0.42, 0.05, "runs the model", size=9, color="#c2681a")
    axes.text(-0.42, -0.15, "only reads files", size=9, color="#3b6ea5")
    return figure


def _ends(start: str, end: str) -> tuple[tuple[float, float], tuple[float, float]]:
    (x0, y0, _), (x1, y1, _) = BOXES[start], BOXES[end]
    if x0 == x1:
        # One above the other.
        return (x0, y0 + HIGH / 2), (x1, y1 - HIGH / 2)
    if (start, end) == ("play", "findings"):
        # Over the probes.
        return (x0, y0 + HIGH / 2), (x1, y1 + HIGH / 2)
    tilt = 0.18 * ((y1 > y0) - (y1 < y0))
    return (x0 + WIDE / 2, y0 + tilt), (x1 - WIDE / 2, y1 - tilt)


def writes(rules: Mapping[str, Any]) -> dict[str, str]:
    """Return the table's last column: target -> the files that the rules of its file write.

    What a rule joins is left out, and the shards, which are no declared outputs, are added.
    """
    joined = [
        _plain(path)
        for rule in rules.values()
        if rule.name.startswith("join_")
        for path in rule.input
    ]
    files: dict[str, list[str]] = defaultdict(list)
    for rule in rules.values():
        target = Path(rule.snakefile).stem
        for output in map(str, rule.output):
            pattern = re.sub(r"\\{\w+\\}", "[^/]+", re.escape(_plain(output)))
            if any(re.fullmatch(pattern, path) for path in joined):
                continue
            path = _plain(output).split("/", 2)[-1]
            if target == "figures":
                path = re.sub(r"/\w+\.", "/{name}.", path)
            if path not in files[target]:
                files[target].append(path)
    files["activations"].append("activations/{model}/shard-*.npy")
    return {target: _shorten(paths) for target, paths in files.items()}


def _plain(pattern: str) -> str:
    # Wildcards without their constraints.
    return re.sub(r"{(\w+),[^}]*}", r"{\1}", pattern)


def _shorten(paths: Iterable[str]) -> str:
    # `a.csv` after `a.parquet` is `.csv`.
    words, last = [], ""
    for path in paths:
        stem, _, suffix = path.rpartition(".")
        words.append(f"`.{suffix}`" if stem == last else f"`{path}`")
        last = stem
    return ", ".join(words)


def with_column(text: str, column: Mapping[str, str]) -> str:
    """Return the README with the last column of its table of stages written anew."""
    return re.sub(
        r"^(\| `(\w+)` \|.*\|) .* \|$",
        lambda row: f"{row[1]} {column[row[2]]} |",
        text,
        flags=re.MULTILINE,
    )


if __name__ == "__main__":
    rules, provenance = load_workflow(ROOT)
    # A fixed salt and no date: the file changes only when the picture does.
    mpl.rcParams["svg.hashsalt"] = "nashlens"
    draw(flows(rules, provenance), running(rules)).savefig(PICTURE, metadata={"Date": None})
    readme = ROOT / "README.md"
    readme.write_text(with_column(readme.read_text(encoding="utf-8"), writes(rules)), "utf-8")
