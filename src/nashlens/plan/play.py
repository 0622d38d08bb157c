"""Play, counted: matches are played by models that answer at once and compute nothing.

Prompts, their order and what of them is kept are the ones of a real run (`play.run`,
`engine.session`): only what happens in the matches differs, as every answer is a coin's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from nashlens.engine.generation import Generated, Request
from nashlens.engine.labels import LabelledPrompt, label_runs
from nashlens.engine.session import Session
from nashlens.plan.work import Work
from nashlens.play.chunks import split_into_chunks
from nashlens.play.player import Player, PlaySettings, PlayTokenizer
from nashlens.play.run import play_rounds
from nashlens.play.schedule import Match

FILLER = " both options have their price, and the other player may think the same of me."
"""What a model writes, over and over, as long as it may."""


class _NoBlocks:
    """Stands in for an engine: it counts the tokens that are new, and computes nothing."""

    n_layers = 0
    steering = None

    def __init__(self) -> None:
        self.blocks = SimpleNamespace(short=None, device=lambda layer: torch.device("cpu"))
        self.new = self.most = 0

    def final_residuals(
        self, row: Any, packed: Any, nodes: np.ndarray, cache: Any = None, start: int = 0
    ) -> torch.Tensor:
        self.new += len(nodes)
        self.most = max(self.most, len(row))
        return torch.zeros(len(nodes), 1)


class _Counted(Session):
    """A session that answers every question by a coin."""

    def __init__(self, tokenizer: PlayTokenizer):
        self.counts = _NoBlocks()
        super().__init__(self.counts)  # type: ignore[arg-type]
        self.prompts = self.tokens = self.written = self.steps = 0
        self._filler = tokenizer.encode(FILLER * 64)

    def label_logprobs(
        self, prompts: Sequence[LabelledPrompt], kept: Sequence[int] | None = None
    ) -> np.ndarray:
        self.prompts += len(prompts)
        self.tokens += sum(len(prompt.ids) for prompt in prompts)
        runs = label_runs(prompts)
        stems = None if kept is None else [kept[run.prompt] for run in runs]
        with self._rows[False].adding([run.sequence for run in runs], stems):
            return np.full((len(prompts), 2), np.log(0.5))

    def write(self, requests: Sequence[Request], *, temperature: float) -> list[Generated]:
        """Write the filler after each prompt, as long as allowed."""
        kept = [request.kept for request in requests]
        with self._rows[False].adding([request.ids for request in requests], kept):
            pass
        lengths = [request.max_new_tokens for request in requests]
        self.written += sum(lengths)
        self.steps += max(lengths, default=0)
        self.counts.most = max(self.counts.most, len(self._rows[False]._row) + sum(lengths))
        repeats = -(-max(lengths, default=0) // max(1, len(self._filler)))
        return [Generated((self._filler * repeats)[:n], stopped=False) for n in lengths]


@torch.inference_mode()
def count_play(
    matches: Sequence[Match],
    tokenizers: Mapping[str, PlayTokenizer],
    layers: Mapping[str, int],
    settings: PlaySettings,
    *,
    jobs: int,
    budget: int | None = None,
) -> list[dict[str, Work]]:
    """Count the work of a group's jobs, by model.

    Parameters
    ----------
    matches : sequence of Match
        All of the group.
    tokenizers : mapping of str to PlayTokenizer
        By model.
    layers : mapping of str to int
        Each model's number of blocks.
    settings : PlaySettings
    jobs : int
        Jobs that share the matches.
    budget : int, optional
        Rounds of matches to play for the count, at most, but one match at least; by default all.
        What is not played costs what the others do, by the length of its prompts.

    Returns
    -------
    list of dict
        For each job, by model.
    """
    chunks = list(split_into_chunks(matches, settings))
    played = _chosen(chunks, settings.rounds, budget)
    counted = {k: _count_chunk(some, tokenizers, layers, settings) for k, some in played.items()}
    whole = all(len(played.get(k, ())) == len(chunk) for k, chunk in enumerate(chunks))
    rounds = settings.rounds
    known = sum(_weight(match, rounds) for some in played.values() for match in some)
    room = max(map(len, chunks), default=1) / max(map(len, played.values()), default=1)
    found: list[dict[str, Work]] = []
    for job in range(jobs):
        mine = range(job, len(chunks), jobs)
        share = sum(_weight(match, rounds) for k in mine for match in chunks[k]) / max(known, 1.0)
        total: dict[str, Work] = {}
        for k, parts in counted.items():
            for model, work in parts.items():
                if whole:
                    more = work if k in mine else Work()
                else:
                    # Keys and values of a whole chunk, of which a part was played. Its matches
                    # write side by side, so that it takes as many steps as that part.
                    steps = round(work.steps * len(mine) / len(counted))
                    more = replace(work.times(share), steps=steps, held=round(work.held * room))
                total[model] = total.get(model, Work()) + more
        found.append(total)
    return found


def _weight(match: Match, rounds: int) -> float:
    """Return about what a match costs: for each seat of a model rules, and in each round a line."""
    seats = sum(agent.model is not None for agent in (match.row, match.column))
    return seats * (250.0 + 60.0 * match.length(rounds))


def _chosen(
    chunks: Sequence[Sequence[Match]], rounds: int, budget: int | None
) -> dict[int, Sequence[Match]]:
    """Choose what is played for the count: all, or the first block of evenly spaced chunks."""
    lengths = [sum(match.length(rounds) for match in chunk) for chunk in chunks]
    if budget is None or sum(lengths) <= budget:
        return dict(enumerate(chunks))
    longest = max(match.length(rounds) for chunk in chunks for match in chunk)
    # A block's forms, both seats: the least that is like a chunk.
    size = next((k for k in (16, 8, 4) if k * longest <= budget), 1)
    count = max(1, min(len(chunks), budget // (size * longest)))
    step = len(chunks) / count
    return {int(k * step): chunks[int(k * step)][:size] for k in range(count)}


def _count_chunk(
    matches: Sequence[Match],
    tokenizers: Mapping[str, PlayTokenizer],
    layers: Mapping[str, int],
    settings: PlaySettings,
) -> dict[str, Work]:
    agents = {agent.player: agent.model for m in matches for agent in (m.row, m.column)}
    sessions = {
        player: _Counted(tokenizers[model])
        for player, model in agents.items()
        if player is not None and model is not None
    }
    players = {
        player: Player(tokenizers[agents[player] or ""], session, session.write)
        for player, session in sessions.items()
    }
    play_rounds(matches, lambda: players, settings)
    found: dict[str, Work] = {}
    for player, session in sessions.items():
        model = agents[player] or ""
        work = Work(
            prompts=session.prompts,
            tokens=session.tokens,
            growing=session.counts.new * layers[model],
            written=session.written,
            steps=session.steps,
            held=session.counts.most,
        )
        found[model] = found.get(model, Work()) + work
    return found
