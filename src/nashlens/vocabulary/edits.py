"""Kinds of edits of the residual stream (`nashlens.engine.edits` computes them)."""

from __future__ import annotations

from typing import Literal, get_args

EditKind = Literal["none", "add", "clamp", "ablate"]
EDIT_KINDS: tuple[EditKind, ...] = get_args(EditKind)
