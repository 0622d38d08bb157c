"""Kinds of edits of the residual stream, and of the directions that they are made along."""

from __future__ import annotations

from typing import Literal, get_args

EditKind = Literal["none", "add", "clamp", "ablate"]
EDIT_KINDS: tuple[EditKind, ...] = get_args(EditKind)
"""What is done to a residual (`nashlens.engine.edits` computes them)."""

SteeredTokens = Literal["last", "prompt", "generated", "all"]
STEERED_TOKENS: tuple[SteeredTokens, ...] = get_args(SteeredTokens)
"""At which of its tokens a steered player is edited (`nashlens.engine.steered`)."""

ConceptKind = Literal["cooperation", "own_gain", "other_gain", "expected"]
CONCEPT_KINDS: tuple[ConceptKind, ...] = get_args(ConceptKind)
"""Concepts beside Nash that a direction separates, on games of their own."""

DirectionKind = Literal["abstract", "label", "published", ConceptKind]
DIRECTION_KINDS: tuple[DirectionKind, ...] = get_args(DirectionKind)
"""What a direction separates (`nashlens.steering.directions` fits them)."""

PlayerDirection = Literal[DirectionKind, "random"]
PLAYER_DIRECTIONS: tuple[PlayerDirection, ...] = (*DIRECTION_KINDS, "random")
"""Along what a player is steered: a fitted direction, or as a control a random one."""
