"""Models as players, and what is the same for all matches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np

from nashlens.engine.labels import LabelledPrompt
from nashlens.prompts.labels import ChatTokenizer
from nashlens.prompts.templates import ANCHOR


class Tokenizer(ChatTokenizer, Protocol):
    """What play needs of a tokenizer."""

    def text(self, ids: Sequence[int]) -> str:
        """Return what a model wrote, without special tokens."""


class Scorer(Protocol):
    """What play needs of an engine: `nashlens.engine.session.Session` is one."""

    def label_logprobs(
        self, prompts: Sequence[LabelledPrompt], kept: Sequence[int] | None = None
    ) -> np.ndarray:
        """Return `(n, 2)` log P of each prompt's two labels.

        `kept` says how many leading tokens of each prompt later calls may share.
        """


class Wanted(NamedTuple):
    """A text that is wanted of a model."""

    ids: Sequence[int]
    """The prompt's token ids."""
    seed: int
    """Of this text alone."""
    max_new_tokens: int
    kept: int = 0
    """How many of the prompt's leading tokens later prompts of the match share."""


class Written(NamedTuple):
    """A text that a model wrote."""

    ids: Sequence[int]
    """The new tokens, without the one that ended it."""
    stopped: bool
    """Whether the model ended it; otherwise the bound on its length did."""


class Writer(Protocol):
    """What play needs of generation."""

    def __call__(self, wanted: Sequence[Wanted], temperature: float) -> Sequence[Written]:
        """Continue each prompt; temperature 0 is greedy."""


@dataclass(frozen=True)
class Player:
    """A model as a player: how it reads text, how its labels are scored, how it writes.

    It holds nothing of a match, so both seats of a self-play match may share one.
    """

    tokenizer: Tokenizer
    scorer: Scorer
    write: Writer | None = None
    """None where nothing is to be generated."""


@dataclass(frozen=True)
class Cot:
    """Mode cot: free reasoning, then an anchored final answer."""

    tokens: int = 256
    """Length bound of the reasoning."""
    answer: str = "scored"
    """What defines the action: scored or parsed."""
    retries: int = 2
    """Further attempts after an invalid answer, where the answer defines the action."""
    anchor: str = ANCHOR
    """Start of the final-answer line; the label comes next."""


@dataclass(frozen=True)
class Scratchpad:
    """Mode scratchpad: private notes, written anew before each decision."""

    tokens: int = 128
    """Length bound of the notes."""


@dataclass(frozen=True)
class Settings:
    """What is the same for all matches."""

    rounds: int
    temperature: float
    """Of actions and of generated text; 0 takes the likelier action, or token."""
    horizon_known: bool
    system: str | None
    assistant_prefix: str
    seed: int
    window: int | None = None
    """How many of the last rounds an agent sees; None shows all."""
    talk_tokens: int = 0
    """Length bound of the message that each model sends before it moves; 0 for no messages."""
    cot: Cot = field(default_factory=Cot)
    scratchpad: Scratchpad = field(default_factory=Scratchpad)


def tempered(p_action_0: float, temperature: float) -> float:
    """Return P(action 0) at a sampling temperature: p^(1/T), renormalised; 0 is greedy.

    A tie under greedy goes to action 0.
    """
    if temperature == 0:
        return 1.0 if p_action_0 >= 0.5 else 0.0
    if p_action_0 in (0.0, 1.0):
        return p_action_0
    odds = (np.log1p(-p_action_0) - np.log(p_action_0)) / temperature
    return float(1.0 / (1.0 + np.exp(np.clip(odds, -700, 700))))
