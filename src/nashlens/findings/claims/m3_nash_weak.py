"""M3: the Nash action is only weakly encoded, at every layer.

Linear probes read at each probed layer which label the Nash action has, and at which place it is
listed: the game gives away neither, as both differ between the forms of a prompt. The estimate is
the largest balanced accuracy over layers and both targets, with bounds for the largest of the true
values. The control is the same maximum with permuted labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import ndtri

from nashlens.contrasts import one_sided_p
from nashlens.findings.claim import Claim, JudgeSettings, Missing, Tables, joined, with_bounds
from nashlens.findings.conditions import Outcome, above, at_most, case, decided
from nashlens.findings.shared.probe_rows import (
    BASELINES,
    ProbeEvidence,
    accuracy_error,
    best_baseline,
    held_out_accuracies,
    named_layers,
    target_rows,
)
from nashlens.kept import kept, neutral

TARGETS = ("nash_label", "nash_place")
GAME_TARGET = "nash_action"
"""Which kind of game it is: reported, and nothing that the rule reads."""
WEAK_LIMIT = 0.65
"""Balanced accuracy that still counts as weak encoding (the paper's largest is 0.56)."""
_NAMES = {"nash_label": "the Nash action's label", "nash_place": "its place in the list"}
_CROSSED = {"nash_label": "prompts.label_maps", "nash_place": "prompts.option_orders"}


@dataclass(frozen=True, kw_only=True)
class NashWeak(ProbeEvidence):
    """The largest accuracy of both targets, and those of each."""

    target: str
    """The target with the largest accuracy."""
    layer: int
    """Its layer."""
    layers: int
    """Number of layers probed."""
    probed: str
    """Which layers these are, in words."""
    limit: float
    """`WEAK_LIMIT`."""
    permutation_p: float
    """Rank of the accuracy among the permutations' largest over layers."""
    nash_label: float
    """Largest accuracy over layers for the Nash action's label."""
    nash_place: float
    """Largest accuracy over layers for its place in the list."""
    nash_action: float
    """Largest accuracy over layers for the action, which the kind of game gives; NaN if it was not
    probed."""
    baseline: float
    """Largest accuracy of what knows nothing of the model's training, of the same target."""
    baseline_name: str
    """Which baseline that is; empty where none was made."""


def estimate(tables: Tables, settings: JudgeSettings) -> NashWeak | Missing:
    """Find the layer and target with the largest accuracy."""
    parts = []
    for target in TARGETS:
        rows = target_rows(tables["probes"], target)
        if isinstance(rows, Missing):
            return rows
        if rows[["ci_low", "ci_high"]].isna().any(axis=None):
            return Missing(f"the {target} probe has no interval (too few matches)", "inconclusive")
        if not differs_within_blocks(tables["prompts"], target):
            return Missing(
                f"{target} is the same in all surface forms of a prompt: ask in both of"
                f" {_CROSSED[target]}",
                "inconclusive",
            )
        parts.append(rows)
    rows = pd.concat(parts, ignore_index=True)
    accuracy = rows["balanced_accuracy"].to_numpy(dtype=float)
    error = np.array([accuracy_error(row, settings.z) for _, row in rows.iterrows()])
    wide = float(ndtri(1.0 - (1.0 - settings.confidence) / (2.0 * len(rows))))
    best = int(accuracy.argmax())
    matches = int(rows["n_matches"].max())
    # The claim is about every layer: it is as doubtful as the layer that speaks most against it.
    p = [
        one_sided_p(WEAK_LIMIT - a, e, matches, settings.resamples)
        for a, e in zip(accuracy, error, strict=True)
    ]
    largest = rows.groupby("target")["balanced_accuracy"].max()
    name, reached = best_baseline(rows.iloc[best])
    game = target_rows(tables["probes"], GAME_TARGET)
    return NashWeak(
        estimate=float(accuracy[best]),
        low=float((accuracy - wide * error).max()),
        high=min(float((accuracy + settings.z * error).max()), 1.0),
        n=int(rows["n"].max()),
        n_matches=matches,
        control=float(rows["permutation_max_high"].max()),
        p_value=float(max(p)),
        error=float(error[best]),
        freedom=matches - 1.0,
        critical=wide,
        target=str(rows["target"].iloc[best]),
        layer=int(rows["layer"].iloc[best]),
        layers=int(rows["layer"].nunique()),
        probed=named_layers(rows),
        limit=WEAK_LIMIT,
        permutation_p=float(rows["p_value_max"].iloc[best]),
        nash_label=float(largest["nash_label"]),
        nash_place=float(largest["nash_place"]),
        nash_action=np.nan if isinstance(game, Missing) else float(game["balanced_accuracy"].max()),
        baseline=reached,
        baseline_name=name,
        held_out=held_out_accuracies(tables["probes"], rows.iloc[best]),
    )


def differs_within_blocks(prompts: pd.DataFrame, target: str) -> bool:
    """Tell whether a target differs within blocks, so that the game cannot give it away."""
    used = neutral(kept(prompts))
    known = used[used[target].notna()]
    return bool((known.groupby("block_id")[target].nunique() > 1).mean() >= 0.5)


def rule(e: NashWeak) -> Outcome:
    """Compare the bounds with `WEAK_LIMIT`, and what is strong with the baselines."""
    low = "lower bound of the largest balanced accuracy"
    strong = above(low, e.low, WEAK_LIMIT)
    better = []
    if e.baseline_name:
        better = [above(f"{low}, against {BASELINES[e.baseline_name]}", e.low, e.baseline)]
    return decided(
        *(
            case(
                "inconclusive",
                strong,
                without=[one],
                because=f"{BASELINES[e.baseline_name]} reaches {e.baseline:.2f}",
            )
            for one in better
        ),
        case(
            "supported",
            at_most("upper bound of the largest balanced accuracy", e.high, WEAK_LIMIT),
        ),
        case("contradicted", strong, *better),
        case("inconclusive"),
    )


def reason(e: NashWeak, outcome: Outcome) -> str:
    """Say the largest accuracy of both targets, the limit, and what the game alone gives."""
    other = next(name for name in TARGETS if name != e.target)
    numbers = (
        f"largest balanced accuracy {with_bounds(e)} for {_NAMES[e.target]}, at layer {e.layer},"
        f" and {getattr(e, other):.2f} for {_NAMES[other]}; the limit is {e.limit:.2f}; probed were"
        f" {e.probed}"
    )
    if np.isfinite(e.nash_action):
        numbers += f"; the kind of game is decoded with {e.nash_action:.2f}"
    return joined(numbers, outcome.because)


CLAIM = Claim(
    id="M3",
    statement="The Nash action is only weakly encoded, at every layer.",
    measure="largest balanced accuracy of the nash_label and nash_place probes over the probed"
    " layers",
    unit="in balanced accuracy",
    beyond=f"{WEAK_LIMIT:g}",
    largest_effect=1.0 - WEAK_LIMIT,
    control="upper quantile of the same with labels permuted",
    paper="never above 56%",
    tables=("probes", "prompts"),
    supported="the upper bound of the largest accuracy over the probed layers, for the Nash"
    f" action's label and for its place, is at most {WEAK_LIMIT:g}",
    contradicted=f"its lower bound lies above {WEAK_LIMIT:g}, and above what the embedding, the"
    " prompt's bag of words and the same architecture with random weights reach",
    estimate=estimate,
    rule=rule,
    reason=reason,
)
