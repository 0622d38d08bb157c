"""Kinds of values that the configuration's sections share."""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from nashlens.vocabulary.patching import ENDS_PATTERN
from nashlens.vocabulary.positions import GROUP_PATTERN, POSITION_PATTERN

SOURCES = "package:DIST/FILE.gguf, gguf:PATH, path:DIR, hub:ID@REVISION, planted:NAME or shape:NAME"

_SOURCE = re.compile(r"(package|gguf|path|hub|planted|shape):\S.*")
PATH_PATTERN = rf"^{ENDS_PATTERN}/{GROUP_PATTERN[1:-1]}$"
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9_-])?")
# Windows and Samba refuse files of these names, whatever their ending.
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)

# Marks of direction, spaces of no width, ends of lines that look like none, halves of characters.
_UNSEEN = ("Cf", "Cs", "Zl", "Zp")
# Persian and scripts of India are not written without these.
_JOINERS = "\u200c\u200d"

LONGEST_TEXT, LONGEST_TITLE = 20_000, 200
"""Characters of a text that agents read, and of one that figures show."""
LARGEST_PAYOFF, PAYOFF_DECIMALS = 1_000_000_000, 6
MOST_VALUES, MOST_ENTRIES = 1000, 200
"""Values of a list, and entries of a map."""


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
    if len(value) > LONGEST_TEXT:
        raise ValueError(f"allowed: at most {LONGEST_TEXT} characters, not {len(value)}")
    for character in value:
        kind = unicodedata.category(character)
        if kind == "Cc" and character not in "\n\t":
            raise ValueError("control characters are not allowed")
        if kind in _UNSEEN and character not in _JOINERS:
            raise ValueError(
                f"character U+{ord(character):04X} shows nothing, and agents would read it;"
                " leave it out"
            )
    return value


def _check_source(value: str) -> str:
    if not _SOURCE.fullmatch(value):
        raise ValueError(f"allowed: {SOURCES}")
    return value


def _check_title(value: str) -> str:
    if len(value) > LONGEST_TITLE:
        raise ValueError(f"allowed: at most {LONGEST_TITLE} characters, not {len(value)}")
    return value


def _check_payoff(value: float) -> float:
    if abs(value) > LARGEST_PAYOFF or round(value, PAYOFF_DECIMALS) != value:
        raise ValueError(
            f"allowed: from -{LARGEST_PAYOFF} to {LARGEST_PAYOFF} with at most {PAYOFF_DECIMALS}"
            " decimals, as agents read them"
        )
    return value


def _check_position(value: str) -> str:
    if not re.fullmatch(POSITION_PATTERN, value):
        raise ValueError(
            "allowed: decision, options, payoffs, rounds, or single ones: option_first, "
            "option_second, payoff_1 to payoff_4, round_last, round_last-1 and so on"
        )
    return value


def _check_group(value: str) -> str:
    if not re.fullmatch(GROUP_PATTERN, value):
        raise ValueError(
            "allowed: system, opening, payoffs (payoff_1 to payoff_4), rounds (round_last, "
            "round_last-1 and so on), question, options (option_first, option_second), answer, "
            "decision, rest or all"
        )
    return value


def _check_path(value: str) -> str:
    if not re.fullmatch(PATH_PATTERN, value):
        raise ValueError(
            "allowed: sender/receiver/group, as 5.mlp/9.3/options: the sender embedding, "
            "LAYER.attention, LAYER.mlp or LAYER.HEAD (layers from 1, heads from 0), the receiver "
            "any of the last three, the group as in patching.groups"
        )
    return value


def _check_layer(value: Any) -> Any:
    share = isinstance(value, float) and 0.0 < value < 1.0
    if not share and (isinstance(value, bool) or not isinstance(value, int)):
        raise PydanticCustomError("layer_type", "a layer, or a share of the depth")
    return value


def _distinct(values: list[Any]) -> list[Any]:
    for i, value in enumerate(values):
        if value in values[:i]:
            raise ValueError(f"{value!r} stands twice")
    return values


Name = Annotated[str, AfterValidator(_check_name)]
Text = Annotated[str, AfterValidator(_check_text)]
Source = Annotated[Text, AfterValidator(_check_source)]
Title = Annotated[Text, AfterValidator(_check_title)]
Position = Annotated[
    str, AfterValidator(_check_position), Field(json_schema_extra={"pattern": POSITION_PATTERN})
]
Group = Annotated[
    str, AfterValidator(_check_group), Field(json_schema_extra={"pattern": GROUP_PATTERN})
]
Path = Annotated[
    str, AfterValidator(_check_path), Field(json_schema_extra={"pattern": PATH_PATTERN})
]
Device = Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")]
# Strict: YAML's yes, no and true are ints to Python, and a payoff of `true` is always a slip.
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Payoff = Annotated[Number, AfterValidator(_check_payoff)]
# A dose of a direction; far larger ones overflow in a model's own numbers.
Dose = Annotated[Number, Field(ge=-1e6, le=1e6)]
Fraction = Annotated[Number, Field(ge=0, le=1)]
InnerFraction = Annotated[Number, Field(gt=0, lt=1)]
Integer = Annotated[int, Field(strict=True)]
Count = Annotated[Integer, Field(ge=1, le=10000)]
RoundCount = Annotated[Integer, Field(ge=1, le=1000)]
Megabytes = Annotated[Integer, Field(ge=100, le=10**8)]
Minutes = Annotated[Integer, Field(ge=1, le=10**6)]
Boolean = Annotated[bool, Field(strict=True)]

T = TypeVar("T")
Pair = Annotated[list[T], Field(min_length=2, max_length=2)]
# Lists in which no value occurs twice.
DistinctOrEmpty = Annotated[list[T], Field(max_length=MOST_VALUES), AfterValidator(_distinct)]
Distinct = Annotated[
    list[T], Field(min_length=1, max_length=MOST_VALUES), AfterValidator(_distinct)
]
AtLeastTwo = Annotated[
    list[T], Field(min_length=2, max_length=MOST_VALUES), AfterValidator(_distinct)
]
Names = Literal["all"] | Annotated[list[Name], Field(max_length=MOST_VALUES)]
# A layer, or a share of the depth.
Layer = Annotated[int | float, BeforeValidator(_check_layer)]
LayerList = Annotated[list[Layer], Field(min_length=1, max_length=MOST_VALUES)]
Layers = Literal["all"] | LayerList


class Section(BaseModel):
    """Base of all sections: unknown keys are errors, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
