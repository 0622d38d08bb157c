"""Kinds of values that the configuration's sections share."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9_-])?")
# Windows and Samba refuse files of these names, whatever their ending.
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def _check_name(value: str) -> str:
    if not _NAME.fullmatch(value) or ".." in value:
        raise ValueError(
            "names become file names: use 1 to 64 of letters, digits, '_', '-' and single '.', "
            "with a letter or digit first and no '.' last"
        )
    if _DEVICES.fullmatch(value):
        raise ValueError("names become file names, and this one is reserved on some systems")
    return value


def _check_text(value: str) -> str:
    if any(ord(c) < 32 and c not in "\n\t" for c in value):
        raise ValueError("control characters are not allowed")
    return value


Name = Annotated[str, AfterValidator(_check_name)]
Text = Annotated[str, AfterValidator(_check_text)]
# Strict: YAML's yes, no and true are ints to Python, and a payoff of `true` is always a slip.
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Integer = Annotated[int, Field(strict=True)]
Boolean = Annotated[bool, Field(strict=True)]
Names = Literal["all"] | Annotated[list[Name], Field(min_length=1)]
Layers = Literal["all"] | Annotated[list[Integer], Field(min_length=1)]


def distinct(values: list[Any]) -> list[Any]:
    """Refuse a list that holds a value twice."""
    for i, value in enumerate(values):
        if value in values[:i]:
            raise ValueError(f"{value!r} stands twice")
    return values


class Section(BaseModel):
    """Base of all sections: unknown keys are errors, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
