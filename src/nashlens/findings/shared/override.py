"""What M9 and M10 say alike: whether there is an override, and whether its cause was looked for."""

from __future__ import annotations

import numpy as np

from nashlens.circuits.readings import Ablations
from nashlens.findings.claim import JudgeSettings, Missing, Tables
from nashlens.findings.claims import m6_late_override as m6


def override_problem(tables: Tables, settings: JudgeSettings) -> Missing | None:
    """Return why there is no override whose cause could be told, or None where M6 is supported."""
    found = m6.estimate(tables, settings)
    if isinstance(found, Missing):
        return Missing(f"whether there is an override is not known: {found.reason}", found.verdict)
    if not np.isfinite([found.estimate, found.low, found.high, found.p_value]).all():
        return Missing("whether there is an override is not known: no interval", "inconclusive")
    outcome = m6.rule(found)
    if outcome.verdict == "supported":
        return None
    if outcome.verdict == "contradicted":
        return Missing(f"the lens shows no late override: {outcome.because}")
    return Missing(f"the lens leaves open whether there is one: {outcome.because}", "inconclusive")


def writers_problem(late: Ablations, baseline: Ablations) -> Missing | None:
    """Return why late components were not ablated, or None where they were."""
    if not len(baseline.blocks):
        return Missing(
            "no scenario was asked in both prompts.label_maps and both prompts.option_orders:"
            " without that an action cannot be told from its token and its place"
        )
    if not len(late.blocks):
        return Missing(
            "no late head or MLP writes against the Nash action at the decision, on the histories"
            " that choose",
            "inconclusive",
        )
    if not np.isfinite(late.blocks.estimate(late.parts["action"][:, :1]).error[0]):
        return Missing("a game has one history to test on: no interval", "inconclusive")
    return None
