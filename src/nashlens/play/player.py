"""Models as players, and what is the same for all matches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from nashlens.engine.generation import Generated, Request
from nashlens.engine.labels import LabelledPrompt
from nashlens.prompts.labels import PromptTokenizer


class PlayTokenizer(PromptTokenizer, Protocol):
    """What play needs of a tokenizer."""

    def text(self, ids: Sequence[int]) -> str:
        """Return what a model wrote, without special tokens."""


class MatchScorer(Protocol):
    """What play needs of an engine: `nashlens.engine.session.Session` is one."""

    def label_logprobs(
        self, prompts: Sequence[LabelledPrompt], kept: Sequence[int] | None = None
    ) -> np.ndarray:
        """Return log P of each prompt's two labels, shape `(n, 2)`.

        `kept` gives the number of leading tokens of each prompt that later calls may share.
        """


class Writer(Protocol):
    """What play needs of generation: `nashlens.engine.generation.generate` of an engine."""

    def __call__(self, requests: Sequence[Request], *, temperature: float) -> Sequence[Generated]:
        """Continue each prompt; temperature 0 is greedy."""


@dataclass(frozen=True)
class Player:
    """A model as a player: how it reads text, how its labels are scored, how it writes.

    It holds nothing of a match, so both seats of a self-play match may share one.
    """

    tokenizer: PlayTokenizer
    scorer: MatchScorer
    write: Writer | None = None
    """None where nothing is to be generated."""


@dataclass(frozen=True)
class Cot:
    """Mode cot: free reasoning, then an anchored final answer."""

    tokens: int
    """Length bound of the reasoning."""
    answer: str
    """What defines the action: `scored` or `parsed`."""
    retries: int
    """Number of further attempts after an invalid answer, where the answer defines the action."""
    anchor: str
    """Start of the final-answer line; the label comes next."""


@dataclass(frozen=True)
class Scratchpad:
    """Mode scratchpad: private notes, written anew before each decision."""

    tokens: int
    """Length bound of the notes."""


@dataclass(frozen=True)
class PlaySettings:
    """What is the same for all matches."""

    rounds: int
    """Number of rounds of a match, unless its agents allow fewer."""
    temperature: float
    """Sampling temperature of actions and of generated text; 0 takes the likelier one."""
    horizon_known: bool
    """Whether the agents know how many rounds there are."""
    system: str | None
    """System message; None for none."""
    assistant_prefix: str
    """Start of the answer; the label comes next."""
    seed: int
    """The experiment's seed."""
    window: int | None
    """How many of the last rounds an agent sees; None shows all."""
    talk_tokens: int
    """Length bound of the message that each model sends before it moves; 0 for no messages."""
    cot: Cot | None
    """None where no agent plays in mode cot."""
    scratchpad: Scratchpad | None
    """None where no agent plays in mode scratchpad."""
