"""Sessions: prompts that grow, such as a match's, keep their keys and values between calls.

Round after round a match's prompt is the last one's rules and history, one more history line, and
the question. A session holds one row whose trie grows: a call computes the tokens that no earlier
call has computed, and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from nashlens.engine.cache import Cache, KeyValues, grown
from nashlens.engine.core import Engine
from nashlens.engine.forest import Row
from nashlens.engine.labels import Asked, LabelledPrompt, Run, runs_of


class Session:
    """Label scores for prompts that share prefixes with those of earlier calls.

    Memory grows with all tokens seen: use one session for each batch of matches.

    Parameters
    ----------
    engine : Engine
    """

    def __init__(self, engine: Engine):
        self.engine = engine
        # Longer sequences share nothing with shorter ones where a model turns them otherwise.
        self._grown = {long: _Grown(engine) for long in (False, True)}

    @torch.inference_mode()
    def label_logprobs(
        self, prompts: Sequence[LabelledPrompt], kept: Sequence[int] | None = None
    ) -> np.ndarray:
        """Score both labels after each prompt; equals `Engine.label_logprobs`.

        Parameters
        ----------
        prompts : sequence of LabelledPrompt
        kept : sequence of int, optional
            How many leading tokens of each prompt later calls may share; the others are forgotten
            after this call, such as a chain of thought that no later prompt holds. By default all
            are kept.

        Returns
        -------
        numpy.ndarray
            `(n, 2)` float64: log P(whole label sequence | prompt).
        """
        result = np.full((len(prompts), 2), np.nan)
        short, runs = self.engine.blocks.short, runs_of(prompts)
        for long, row in self._grown.items():
            mine = [r for r in runs if (short is not None and len(r.sequence) > short) == long]
            if mine:
                row.score(mine, result, None if kept is None else [kept[r.prompt] for r in mine])
        return result


class _Grown:
    """A row that grows, with its keys and values and last-layer residuals."""

    def __init__(self, engine: Engine):
        self.engine = engine
        self._row = Row()
        self._cache = Cache([KeyValues() for _ in range(engine.n_layers)])
        # Rows beyond the row's nodes are room for more.
        self._final: torch.Tensor | None = None
        # The k-th prompt of a call is mostly the k-th one of the call before, and longer.
        self._last: list[tuple[Sequence[int], np.ndarray]] = []

    def score(
        self, runs: Sequence[Run], result: np.ndarray, kept: Sequence[int] | None = None
    ) -> None:
        """Write the label scores of runs, computing what is new of them.

        `kept` says how many leading tokens of each run to keep; None keeps all.
        """
        start = len(self._row)
        parts: list[tuple[np.ndarray, int]] = []
        last, self._last = self._last, []
        if kept is not None:
            stems = [run.sequence[:n] for run, n in zip(runs, kept, strict=True)]
            last = [self._insert(stem, k, last, parts) for k, stem in enumerate(stems)]
        keep = len(self._row)
        placed = [self._insert(run.sequence, k, last, parts) for k, run in enumerate(runs)]
        self._last = placed if kept is None else last
        asked = [run.asked(path) for run, (_, path) in zip(runs, placed, strict=True)]
        self._advance(start, parts)
        assert self._final is not None
        scored = Asked.joined(asked)
        logprobs = self.engine.token_logprobs(self._final, scored.rows, scored.tokens)
        scored.add_to(result, logprobs)
        if kept is not None:
            self._forget(keep)

    def _insert(
        self,
        sequence: Sequence[int],
        k: int,
        last: Sequence[tuple[Sequence[int], np.ndarray]],
        parts: list[tuple[np.ndarray, int]],
    ) -> tuple[Sequence[int], np.ndarray]:
        """Add a sequence and what is new of it; return it with its path."""
        if len(sequence) == 0:
            return sequence, np.empty(0, dtype=np.int64)
        known = len(self._row)
        path = self._row.insert(sequence, like=last[k] if k < len(last) else None)
        parts.append((path, int(np.searchsorted(path, known))))
        return sequence, path

    def _forget(self, n: int) -> None:
        """Keep the first `n` nodes alone."""
        self._row.truncate(n)
        for layer in self._cache.layers:
            layer.trim(n)

    def _advance(self, start: int, parts: list[tuple[np.ndarray, int]]) -> None:
        """Compute the nodes from `start` on."""
        new = len(self._row) - start
        if not new:
            return
        captured = self.engine.run_row(
            self._row,
            parts,
            capture=(np.arange(new), [self.engine.n_layers]),
            cache=self._cache,
            start=start,
        )[self.engine.n_layers]
        self._final = grown(self._final, start, captured)
