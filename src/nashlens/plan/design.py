"""The prompts of a study, built and counted as its jobs would build them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np
import pandas as pd

from nashlens.engine.forest import pack
from nashlens.engine.labels import LabelledPrompt, label_runs
from nashlens.games import games_from_table
from nashlens.plan.probes import ProbeCounts, count_probes
from nashlens.play.beliefs import ask_beliefs, belief_histories
from nashlens.play.player import PlayTokenizer
from nashlens.play.quiz import ask_quiz, histories_of_play
from nashlens.play.schedule import forms_of_play, games_of_play
from nashlens.prompts.pairs import build_pairs
from nashlens.prompts.table import Asked, build_prompts, planned_decisions
from nashlens.vocabulary.positions import expand_positions

Sequences = Sequence[Sequence[int]]


def row_tokens(sequences: Sequences, batch_tokens: int, at_once: int | None = None) -> int:
    """Return the tokens of packed rows: what sequences of a row share counts once.

    Parameters
    ----------
    sequences : sequence of sequences of int
    batch_tokens : int
        The most tokens of a row.
    at_once : int, optional
        How many sequences are packed at a time; by default all.
    """
    step = at_once or max(1, len(sequences))
    parts = [sequences[i : i + step] for i in range(0, len(sequences), step)]
    return sum(len(row) for part in parts for row, _ in pack(part, batch_tokens))


class _Scorer:
    """Counts what an engine would compute, and answers by a coin."""

    def __init__(self, batch_tokens: int):
        self.batch_tokens = batch_tokens
        self.prompts = self.tokens = self.new = 0

    def label_logprobs(self, prompts: Sequence[LabelledPrompt]) -> np.ndarray:
        self.prompts += len(prompts)
        self.tokens += sum(len(prompt.ids) for prompt in prompts)
        self.new += row_tokens([run.sequence for run in label_runs(prompts)], self.batch_tokens)
        return np.full((len(prompts), 2), np.log(0.5))


class Design:
    """The prompts of a study in one tokenizer, which models may share.

    Parameters
    ----------
    config : mapping
        The checked config, doses of agents written out.
    games : pandas.DataFrame
        The games table.
    tokenizer : PlayTokenizer
    """

    def __init__(self, config: Mapping[str, Any], games: pd.DataFrame, tokenizer: PlayTokenizer):
        self.config, self.games, self.tokenizer = config, games, tokenizer
        self.seed = int(config["experiment"]["seed"])
        self.histories_of = {name: game["histories"] for name, game in config["games"].items()}
        self._rows: dict[tuple[bytes, int], int] = {}
        self._probes: dict[tuple[str, bool], ProbeCounts] = {}

    @cached_property
    def prompts(self) -> pd.DataFrame:
        """The prompts table."""
        rounds = self.config["prompts"]["rounds"]
        return build_prompts(
            games_from_table(self.games),
            self.tokenizer,
            **self.config["prompts"],
            histories_of=self.histories_of,
            seed=self.seed,
            positions=expand_positions(self.config["activations"]["positions"], rounds),
        )

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """The pairs table."""
        settings, design = self.config["patching"], dict(self.config["prompts"])
        asked = Asked(self.tokenizer, design.pop("system"), design.pop("assistant_prefix"))
        decisions = planned_decisions(
            games_from_table(self.games), **design, histories_of=self.histories_of, seed=self.seed
        )
        kinds, games = settings["kinds"], settings["games"]
        return build_pairs(decisions, asked, kinds=kinds, games=games)

    @cached_property
    def quiz(self) -> tuple[int, int, int]:
        """Prompts of the quiz, their tokens, and those of packed rows."""
        scorer = self._scorer()
        ask_quiz(
            histories_of_play(self.games, self.config),
            self.tokenizer,
            scorer,
            system=self.config["prompts"]["system"],
            model="",
            seed=self.seed,
        )
        return scorer.prompts, scorer.tokens, scorer.new

    @cached_property
    def beliefs(self) -> tuple[int, int, int]:
        """The same of the questions about the other's next move."""
        scorer, prompts = self._scorer(), self.config["prompts"]
        histories = belief_histories(
            games_of_play(self.games, self.config),
            partial(forms_of_play, self.config),
            histories=self.config["quiz"]["beliefs"],
            seed=self.seed,
        )
        ask_beliefs(
            list(histories),
            self.tokenizer,
            scorer,
            system=prompts["system"],
            assistant_prefix=prompts["assistant_prefix"],
            model="",
        )
        return scorer.prompts, scorer.tokens, scorer.new

    def probes(self, position: str, untrained: bool) -> ProbeCounts:
        """Return what the probes of one position ask, counted once."""
        key = position, untrained
        if key not in self._probes:
            self._probes[key] = count_probes(
                self.prompts, position, self.config, untrained=untrained
            )
        return self._probes[key]

    def _scorer(self) -> _Scorer:
        return _Scorer(int(self.config["resources"]["batch_tokens"]))

    def row_tokens(self, sequences: Sequences, at_once: int | None = None) -> int:
        """Return `row_tokens` of some sequences, counted once."""
        ids = [np.asarray(sequence, dtype=np.int32).tobytes() for sequence in sequences]
        key = hashlib.sha256(b"|".join(ids)).digest(), at_once or 0
        if key not in self._rows:
            batch = int(self.config["resources"]["batch_tokens"])
            self._rows[key] = row_tokens(sequences, batch, at_once)
        return self._rows[key]
