"""Verdicts of every kind, and how they hang on parts of the data."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd

from nashlens.findings.claims import CLAIMS
from nashlens.findings.ladder import COLUMNS
from nashlens.findings.protocols import PROTOCOLS, RUNGS


def make_findings(models) -> pd.DataFrame:
    claims = [
        (
            "M1",
            "Opponent history is decodable at layer 1",
            "balanced accuracy of opponent_last at layer 1",
            0.94,
            0.91,
            0.97,
            0.55,
            "upper quantile of permuted labels",
            "96 %",
        ),
        (
            "M2",
            "Opponent history is consumed with depth",
            "Spearman correlation of accuracy with layer",
            -0.62,
            -0.8,
            -0.3,
            0.0,
            "no trend",
            "",
        ),
        (
            "M3",
            "The Nash action is weakly encoded",
            "largest balanced accuracy over layers",
            0.71,
            0.66,
            0.77,
            0.56,
            "permuted labels",
            "at most 56 %",
        ),
        (
            "M4",
            "There is no dedicated Nash module",
            "needs the circuits stage",
            *[np.nan] * 4,
            "",
            "none found",
        ),
        (
            "M5",
            "The lens favours the Nash action through most layers",
            "share of layers with P(Nash) > 0.5",
            0.8,
            0.7,
            0.88,
            0.5,
            "label-swapped average",
            "23 of 32 layers",
        ),
        (
            "M6",
            "A late override towards the prosocial action, following the action and not the token",
            "flip layer",
            24.0,
            23.0,
            26.0,
            np.nan,
            "",
            "84 % at layer 30 of 32",
        ),
        (
            "M7",
            "Steering moves behaviour both ways beyond random directions",
            "P(action 1) at the largest alpha minus at the smallest",
            0.4,
            0.1,
            0.7,
            0.08,
            "97.5 % of random directions",
            "0.1 % to 98.6 %",
        ),
        (
            "M8",
            "Clamping is monotone in the clamped value",
            "Spearman correlation",
            0.9,
            0.7,
            1.0,
            0.0,
            "no trend",
            "significant positive correlation",
        ),
    ]
    verdicts = [
        "supported",
        "inconclusive",
        "contradicted",
        "not_applicable",
        "supported",
        "inconclusive",
        "supported",
        "supported",
    ]
    rows = []
    for index, (claim, text, measure, value, low, high, control, what, paper) in enumerate(claims):
        for k, model in enumerate(models):
            rows.append(
                {
                    "claim": claim,
                    "model": model,
                    "statement": text,
                    "measure": measure,
                    "estimate": value,
                    "ci_low": low,
                    "ci_high": high,
                    "n": 384,
                    "n_matches": 192,
                    "control": control,
                    "control_measure": what,
                    "p_value": 0.01,
                    "q_value": 0.02,
                    "detectable": 0.12,
                    "spike_found": (0.3, float("inf"), float("nan"))[index % 3],
                    "spike_unit": ("logits", "standard deviations", "")[index % 3],
                    "spike_false": (0.0, 0.1, float("nan"))[index % 3],
                    "verdict": verdicts[(index + k) % 8],
                    "sensitivity": "",
                    "fragile": "template" if (index + k) % 8 in (2, 6) else "",
                    "reason": "the interval lies beyond the control and beyond the threshold "
                    "of the claim in the whole range",
                    "paper": paper,
                    "tables": "probes",
                    "detail": "{}",
                }
            )
    return pd.DataFrame(rows)


def make_sensitivity(findings, label_sets) -> pd.DataFrame:
    """Parts that agree, but for one template where the claim hangs on it and for weak halves."""
    rng = np.random.default_rng(9)
    levels = [("template", "named"), ("template", "neutral")]
    levels += [("label_set", name) for name in label_sets]
    levels += [("half", "half 1"), ("half", "half 2")]
    levels += [("bootstrap", f"draw {k}") for k in (1, 2, 3)]
    turned = {"supported": "contradicted", "contradicted": "supported"}
    rows = []
    for (_, finding), (factor, level) in product(findings.iterrows(), levels):
        verdict, agreement = finding["verdict"], "agrees"
        wide = {"bootstrap": 1.0, "half": 1.4}.get(factor, 1.6)
        shift = 0.0 if factor == "bootstrap" else rng.normal(0, 0.3)
        arms = finding["estimate"] - finding["ci_low"], finding["ci_high"] - finding["estimate"]
        estimate = finding["estimate"] + shift * arms[0]
        if verdict == "not_applicable":
            agreement = "not_judged"
        elif finding["fragile"] == factor and level == "named":
            verdict, agreement = turned.get(verdict, "supported"), "reverses"
            estimate = estimate - 2.5 * arms[0]
        elif factor == "half" and finding["claim"] in ("M2", "M5") and verdict in turned:
            verdict, agreement = "inconclusive", "weaker"
        elif factor == "label_set" and finding["claim"] == "M8":
            verdict, agreement = "inconclusive", "not_judged"
        known = agreement != "not_judged"
        rows.append(
            {
                "claim": finding["claim"],
                "model": finding["model"],
                "factor": factor,
                "level": level,
                "estimate": estimate if known else np.nan,
                "ci_low": estimate - wide * arms[0] if known else np.nan,
                "ci_high": estimate + wide * arms[1] if known else np.nan,
                "verdict": verdict,
                "whole_verdict": finding["verdict"],
                "agreement": agreement,
            }
        )
    return pd.DataFrame(rows)


def make_ladder(models) -> pd.DataFrame:
    """Findings that dissolve at one rung or another, and rungs without an estimate."""
    statements = {claim.id: claim.statement for claim in CLAIMS}
    rows = []
    for m, model in enumerate(models):
        for c, (claim, protocol) in enumerate(PROTOCOLS.items()):
            for number, (name, rung) in enumerate(RUNGS.items()):
                if name not in protocol:
                    continue
                keys = (claim, model, statements[claim], number, name, rung.adds)
                if (number + m + c) % 9 == 8:
                    numbers = (np.nan, np.nan, np.nan, "", "", pd.NA, pd.NA, "not_applicable")
                else:
                    value = 0.9 - 0.12 * number
                    said = ("supported", "inconclusive", "contradicted")[min(2, (number + m) // 3)]
                    numbers = (
                        value,
                        value - 0.04,
                        value + 0.04,
                        "P(prosocial word)",
                        "before: 0.10",
                        48,
                        12,
                        said,
                    )
                rows.append((*keys, *numbers, "", f"{name} of {claim}", "because"))
    return pd.DataFrame(rows, columns=list(COLUMNS))
