"""Counterfactual pairs of prompts (`nashlens.prompts.pairs`)."""

from __future__ import annotations

from typing import Literal, get_args

PairKind = Literal["payoffs", "history", "labels", "order"]
PAIR_KINDS: tuple[PairKind, ...] = get_args(PairKind)
"""The one thing in which the two prompts of a pair differ."""
