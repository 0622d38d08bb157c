"""Sessions: prompts that grow, such as a match's, keep their keys and values between calls.

Round after round a match's prompt is the last one's rules and history, one more history line, and
the question. A session holds packed rows whose tries grow: a call computes the tokens that no
earlier call has computed, and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from nashlens.engine.blocks import Cache, KeyValues
from nashlens.engine.core import Engine
from nashlens.engine.forest import Row
from nashlens.engine.labels import Asked, LabelledPrompt, runs_of


@dataclass
class _GrowingRow:
    """A row, what is kept of its computed nodes, and how many those are."""

    cache: Cache
    row: Row = field(default_factory=Row)
    mask: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), dtype=bool))
    final: torch.Tensor | None = None

    def advance(self, engine: Engine) -> None:
        """Compute the nodes that were inserted since the last call."""
        start, n = len(self.mask), len(self.row)
        if start == n:
            return
        new = self.row.mask(start, self.mask)
        captured = engine.run_row(
            self.row,
            capture=(np.arange(n - start), [engine.n_layers]),
            cache=self.cache,
            start=start,
            row_mask=new,
        )[engine.n_layers]
        self.final = captured if self.final is None else torch.cat((self.final, captured))
        self.mask = np.concatenate((np.pad(self.mask, ((0, 0), (0, n - start))), new))


class Session:
    """Label scores for prompts that share prefixes with those of earlier calls.

    Parameters
    ----------
    engine : Engine
    row_tokens : int, optional
        Tokens a row may grow to before new prompts start another; twice the engine's budget by
        default. Memory grows with all tokens seen: use one session for each batch of matches.
    """

    def __init__(self, engine: Engine, row_tokens: int | None = None):
        self.engine = engine
        self.row_tokens = row_tokens or 2 * engine.batch_tokens
        self._rows: list[_GrowingRow] = []

    @torch.inference_mode()
    def label_logprobs(self, prompts: Sequence[LabelledPrompt]) -> np.ndarray:
        """Score both labels after each prompt; equals `Engine.label_logprobs`.

        Parameters
        ----------
        prompts : sequence of LabelledPrompt

        Returns
        -------
        numpy.ndarray
            `(n, 2)` float64: log P(whole label sequence | prompt).
        """
        runs = runs_of(prompts)
        asked: dict[int, list[Asked]] = {}
        # Neighbours in lexicographic order share prefixes, so they find the same row.
        for run in sorted(runs, key=lambda run: (run.sequence, run.prompt)):
            place = self._place(run.sequence)
            path = self._rows[place].row.insert(run.sequence)
            asked.setdefault(place, []).append(run.asked(path))
        result = np.full((len(prompts), 2), np.nan)
        for place in sorted(asked):
            growing, here = self._rows[place], Asked.joined(asked[place])
            growing.advance(self.engine)
            assert growing.final is not None
            here.add_to(result, self.engine.token_logprobs(growing.final, here.rows, here.tokens))
        return result

    def _place(self, sequence: Sequence[int]) -> int:
        """Return the row that holds most of a sequence and has room for the rest."""
        best, most = -1, -1
        for i, growing in enumerate(self._rows):
            have = growing.row.shared(sequence)
            # On a tie the later row wins: the earlier ones may be needed by their own matches.
            if have >= most and len(growing.row) + len(sequence) - have <= self.row_tokens:
                best, most = i, have
        if best >= 0:
            return best
        cache = Cache([KeyValues() for _ in range(self.engine.n_layers)])
        self._rows.append(_GrowingRow(cache))
        return len(self._rows) - 1
