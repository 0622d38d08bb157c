"""Rows of the calibration: one planted fact beside what was found of it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from nashlens.circuits.candidates import site_name
from nashlens.engine.recording import Site
from nashlens.findings.claims.m4_no_nash_components import LEAST_DROP
from nashlens.planted.facts import Facts
from nashlens.vocabulary.positions import DECISION

_NOT_KNOWN = {"planted": np.nan, "precision": np.nan, "recall": np.nan, "outcome": "unknown"}


def _outcome(planted: bool, found: bool) -> str:
    if planted:
        return "hit" if found else "miss"
    return "false_positive" if found else "true_negative"


def truth_row(fact: str, planted: bool | None, found: bool) -> dict[str, Any]:
    """Compare what holds or does not (None: unknown) with whether it was found."""
    return {
        "fact": fact,
        "planted": np.nan if planted is None else float(planted),
        "found": float(found),
        "outcome": "unknown" if planted is None else _outcome(planted, found),
    }


def layer_row(fact: str, planted: Any, found: float) -> dict[str, Any]:
    """Compare layers, of which either may be nowhere, and the planted one `unknown`."""
    if planted == "unknown":
        return {"fact": fact, "planted": np.nan, "found": found, "outcome": "unknown"}
    layer = np.nan if planted is None else float(planted)
    return {
        "fact": fact,
        "planted": layer,
        "found": found,
        "layer_error": abs(found - layer),
        "outcome": _outcome(planted is not None, bool(np.isfinite(found))),
    }


def component_row(facts: Facts, named: set[str]) -> dict[str, Any]:
    """Compare the components that are named as an override's cause with the planted ones."""
    known = facts.override_at is None or bool(facts.components)
    planted = {
        site_name(Site(*component))
        for component in facts.components
        # Where late components are not the cause by themselves, none is to be named.
        if "M9" not in facts.denied
        and isinstance(facts.override_at, int)
        and component[1] >= facts.override_at
    }
    # Some of what is planted, or others, are not the cause: all of it must be named.
    found = planted <= named if planted else bool(named)
    row = _named_row("components", planted, named, found)
    return row if known else row | _NOT_KNOWN


def group_row(facts: Facts, detail: str) -> dict[str, Any]:
    """Compare the heads that M4 ablates together with those that bring and write the answer."""
    planted = {site_name(Site(*component)) for component in facts.answered_by}
    arms = json.loads(detail).get("arms", [])
    here = [arm for arm in arms if (arm["component"], arm["positions"]) == ("head", DECISION)]
    # How much of the labels' probability is left decides M4, and not which heads are named.
    costs = [arm for arm in here if arm["at_once_low"] > LEAST_DROP]
    costs = [arm for arm in costs if arm["drop"] > arm["random_largest"]]
    named = {name for arm in costs for name in arm["heads"].split()}
    # A group has as many heads as the config says, which may be fewer than there are.
    found = bool(named) and (named <= planted or planted <= named)
    row = _named_row("answering_group", planted, named, found)
    return row | ({"recall": np.nan} if 0 < len(named) < len(planted) else {})


def _named_row(fact: str, planted: set[str], named: set[str], found: bool) -> dict[str, Any]:
    both = len(named & planted)
    return {
        "fact": fact,
        "planted": float(len(planted)),
        "found": float(len(named)),
        "precision": both / len(named) if named else np.nan,
        "recall": both / len(planted) if planted else np.nan,
        "outcome": _outcome(bool(planted), found),
    }
