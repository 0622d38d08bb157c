"""The claim about ablated heads: M4.

The candidate group was chosen on other matches than those measured here. What it costs the Nash
action is held against random groups of other heads of the same layers on the same prompts, so that
what any ablation there costs is not counted.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from nashlens.circuits.readings import Ablations
from nashlens.findings.measurement import (
    Measurement,
    Missing,
    Settings,
    cell_means,
    one_sided_p,
)

LEAST_DROP = 0.2
"""Drop of the Nash action's lead, in logits, that counts as a change (P from 0.55 to 0.5)."""


def nash_heads(tables: Mapping[str, pd.DataFrame], settings: Settings) -> Measurement | Missing:
    """M4: what ablating the candidate group costs the Nash action, beyond random groups.

    The estimate is the drop of the Nash action's logit over the other, averaged over games and
    label maps (so that label preferences cancel), minus its mean over the random groups.
    """
    heads = tables["heads"]
    candidate, random = (Ablations(heads, kind, "test") for kind in ("candidate", "random"))
    baseline = Ablations(heads, "none", "test", "logit_nash")
    problem = _problem(candidate, random, baseline)
    if problem is not None:
        return problem
    values = np.hstack(
        [
            candidate.values - random.values.mean(axis=1, keepdims=True),
            baseline.values,
            candidate.values,
            candidate.token(),
            random.values,
        ]
    )
    mean, draws = cell_means(values, candidate.cells, candidate.matches, settings, "M4")
    draws = draws[~np.isnan(draws).any(axis=1)]
    if not len(draws):
        return Missing("no resample of matches holds every game and label map", "inconclusive")
    low, high = candidate.interval(mean, draws, settings.confidence)
    n_matches = len(set(candidate.matches))
    # Two one-sided tests: the claim is that the drop lies within the bounds on either side.
    error = float(candidate.errors(draws)[0])
    p = [
        one_sided_p(gap, error, candidate.freedom + 1, settings.resamples)
        for gap in (LEAST_DROP - mean[0], LEAST_DROP + mean[0])
    ]
    return Measurement(
        estimate=float(mean[0]),
        low=float(low[0]),
        high=float(high[0]),
        n=len(candidate),
        n_matches=n_matches,
        control=float(mean[4:].max() - mean[4:].mean()),
        p_value=float(max(p)),
        detail={
            "heads": str(candidate.places["heads"].iloc[0]),
            "random_groups": len(random.names),
            "drop": float(mean[2]),
            "random_mean": float(mean[4:].mean()),
            "random_largest": float(mean[4:].max()),
            "token_part": float(mean[3]),
            "preference": float(mean[1]),
            "preference_low": float(low[1]),
            "preference_high": float(high[1]),
        },
    )


def _problem(candidate: Ablations, random: Ablations, baseline: Ablations) -> Missing | None:
    if not len(candidate):
        return Missing("the heads table has no prompt on which a group of heads was ablated")
    lists = [ablations.prompts["prompt_id"].tolist() for ablations in (candidate, random, baseline)]
    if not random.names or lists.count(lists[0]) < len(lists):
        return Missing("there is no random group of heads to compare with", "inconclusive")
    if candidate.prompts["label_map"].nunique() < 2:
        return Missing(
            "prompts.label_maps has one value: without the swap an action cannot be told from its"
            " token"
        )
    if candidate.least_matches() < 2:
        return Missing(
            "a game and label map has fewer than two matches to test on: no interval",
            "inconclusive",
        )
    return None
