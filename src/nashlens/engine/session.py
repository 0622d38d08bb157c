"""Sessions: prompts that grow, such as a match's, keep their keys and values between calls.

Round after round a match's prompt is the last one's rules and history, one more history line, and
the question. A session holds one row whose trie grows: a call computes the tokens that no earlier
call has computed, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np
import torch

from nashlens.engine.cache import Cache, append_rows, empty_cache
from nashlens.engine.core import Engine
from nashlens.engine.forest import PackedSequence, Row
from nashlens.engine.labels import LabelledPrompt, LabelRun, ScoredTokens, label_runs
from nashlens.engine.transfer import copy_to


class Session:
    """Label scores for prompts that share prefixes with those of earlier calls.

    Memory grows with all tokens seen: use one session for each batch of matches.
    """

    def __init__(self, engine: Engine):
        self.engine = engine
        # Longer sequences may have other rotations than shorter ones, and share nothing with them.
        self._rows = {long: _GrowingRow(engine) for long in (False, True)}

    @torch.inference_mode()
    def label_logprobs(
        self, prompts: Sequence[LabelledPrompt], kept: Sequence[int] | None = None
    ) -> np.ndarray:
        """Score both labels after each prompt; equals `Engine.label_logprobs`.

        Parameters
        ----------
        prompts : sequence of LabelledPrompt
        kept : sequence of int, optional
            How many leading tokens of each prompt all later calls may share. The others, such as a
            chain of thought that no later round's prompt holds, stay for the next call only: an
            answer is scored after the very prompt that the thought was written for. By default
            all are kept.

        Returns
        -------
        numpy.ndarray
            `(n, 2)` float64: log P(whole label sequence | prompt).
        """
        result = np.full((len(prompts), 2), np.nan)
        runs = label_runs(prompts, self.engine.steering)
        for long, row in self._rows.items():
            mine = [r for r in runs if self._is_long(r.sequence) == long]
            stems = None if kept is None else [kept[r.prompt] for r in mine]

            def score(
                some: slice,
                row: _GrowingRow = row,
                mine: Sequence[LabelRun] = mine,
                stems: Sequence[int] | None = stems,
            ) -> None:
                row.score(mine[some], result, None if stems is None else stems[some])

            self.engine.prompts.run(len(mine), score)
        return result

    @torch.inference_mode()
    def prefilled(
        self, prompts: Sequence[Sequence[int]], kept: Sequence[int]
    ) -> Iterator[tuple[list[int], list[np.ndarray], torch.Tensor, Cache]]:
        """Compute what is new of prompts, for a caller that continues them.

        Steered tokens are marked (`steered.Steering.marked`). `kept` is as for `label_logprobs`;
        what is not kept stays for the next call only.

        Yields
        ------
        indices : list of int
            Some of the prompts; over all that is yielded, each once.
        paths : list of numpy.ndarray
            The node of each of their tokens.
        final : torch.Tensor
            `(len(indices), width)` residuals after the last block at their last tokens.
        cache : Cache
            Keys and values of the nodes.
        """
        for long, row in self._rows.items():
            mine = [i for i, prompt in enumerate(prompts) if self._is_long(prompt) == long]
            while mine:
                some = mine[: self.engine.prompts.size]
                added, stems = [prompts[i] for i in some], [kept[i] for i in some]
                with ExitStack() as opened:
                    paths = None
                    with self.engine.prompts(len(some)):
                        paths = opened.enter_context(row.adding(added, stems))
                    if paths is not None:
                        last = [int(path[-1]) for path in paths]
                        yield some, paths, row.final[last], row.cache
                        mine = mine[len(some) :]

    def _is_long(self, sequence: Sequence[int]) -> bool:
        short = self.engine.blocks.short
        return short is not None and len(sequence) > short


class _GrowingRow:
    """A row that grows, with its keys and values and last-layer residuals."""

    def __init__(self, engine: Engine):
        self.engine = engine
        self.cache = empty_cache(engine.n_layers)
        self._row = Row()
        # Rows beyond the row's nodes are room for more.
        self._final: torch.Tensor | None = None
        # The k-th prompt of a call is mostly the k-th one of the call before, and longer.
        self._last: list[tuple[Sequence[int], np.ndarray]] = []
        # Of each node, whether it stays for good: the others go with the next call.
        self._kept = np.empty(0, dtype=bool)

    @property
    def final(self) -> torch.Tensor:
        """Residuals of the nodes after the last block."""
        assert self._final is not None
        return self._final

    def score(
        self, runs: Sequence[LabelRun], result: np.ndarray, kept: Sequence[int] | None = None
    ) -> None:
        """Write the label scores of runs, computing what is new of them.

        `kept` says how many leading tokens of each run to keep for good; None keeps all.
        """
        with self.adding([run.sequence for run in runs], kept) as paths:
            scored = [run.scored_tokens(path) for run, path in zip(runs, paths, strict=True)]
            joined = ScoredTokens.joined(scored)
            joined.add_to(result, joined.logprobs(self.final, self.engine.blocks.logits))

    @contextmanager
    def adding(
        self, added: Sequence[Sequence[int]], kept: Sequence[int] | None
    ) -> Iterator[list[np.ndarray]]:
        """Add sequences, compute what is new of them, and yield their paths.

        What is not kept stays for one more call. Where computing fails, nothing was added.
        """
        start = len(self._row)
        packed: list[PackedSequence] = []
        heads = added
        if kept is not None:
            heads = [sequence[:n] for sequence, n in zip(added, kept, strict=True)]
        try:
            stems = [self._insert(head, k, self._last, packed) for k, head in enumerate(heads)]
            whole = stems
            if kept is not None:
                whole = [self._insert(s, k, stems, packed) for k, s in enumerate(added)]
            self._advance(start, packed)
        except BaseException:
            self._select(np.arange(start))
            raise
        paths = [path for _, path in whole]
        try:
            yield paths
        finally:
            moved = self._forget([path for _, path in stems], paths)
            self._last = [(head, moved[path]) for head, path in stems]

    def _forget(self, stems: Sequence[np.ndarray], paths: Sequence[np.ndarray]) -> np.ndarray:
        """Keep what was kept before, some stems for good, and some paths until the next call.

        Returns each node's new index.
        """
        kept = np.pad(self._kept, (0, len(self._row) - len(self._kept)))
        kept[np.concatenate(stems)] = True
        stays = kept.copy()
        stays[np.concatenate(paths)] = True
        self._kept = kept[stays]
        return self._select(np.flatnonzero(stays))

    def _insert(
        self,
        sequence: Sequence[int],
        k: int,
        last: Sequence[tuple[Sequence[int], np.ndarray]],
        packed: list[PackedSequence],
    ) -> tuple[Sequence[int], np.ndarray]:
        """Add a sequence and what is new of it; return it with its path."""
        if len(sequence) == 0:
            return sequence, np.empty(0, dtype=np.int64)
        known = len(self._row)
        path = self._row.insert(sequence, like=last[k] if k < len(last) else None)
        packed.append(PackedSequence(k, path, int(np.searchsorted(path, known))))
        return sequence, path

    def _select(self, nodes: np.ndarray) -> np.ndarray:
        """Keep only some nodes; return each one's new index."""
        first = int(np.argmax(np.append(nodes, -1) != np.arange(len(nodes) + 1)))
        rest = torch.from_numpy(nodes[first:])
        if len(rest):
            rest = copy_to(rest, self.engine.blocks.device(0))
        for layer in self.cache:
            layer.select(first, rest)
        if self._final is not None and len(rest):
            self._final[first : len(nodes)] = self._final[rest.to(self._final.device)]
        return self._row.select(nodes)

    def _advance(self, start: int, packed: list[PackedSequence]) -> None:
        """Compute the nodes from `start` on."""
        new = len(self._row) - start
        if not new:
            return
        final = self.engine.final_residuals(self._row, packed, np.arange(new), self.cache, start)
        self._final = append_rows(self._final, start, final)
