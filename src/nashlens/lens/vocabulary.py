"""One pass of normed residuals over the whole vocabulary: normaliser, ranks and divergence.

The vocabulary is read in blocks and residuals in pieces, so memory grows with neither. On the CPU
a block of the unembedding is read from its file when it is multiplied; on a GPU all of it is there
once, in float32, and products are float32 too.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from nashlens.models.weights import Readout

VOCABULARY_BLOCK = 4096
"""Number of rows of the unembedding that are multiplied at once; it bounds memory only."""
PIECE = 512
"""Number of residuals at once. A GPU takes four times as many of both."""


class Scan(NamedTuple):
    """What one pass over the vocabulary gives, for n residuals."""

    log_partition: NDArray[np.float64]
    """(n,): log of the summed exponentials of all logits."""
    ranks: NDArray[np.int64]
    """(n, k): 1 + the number of tokens with a larger logit than each token that is asked about."""
    divergence: NDArray[np.float64]
    """(n,): KL of the final distribution from this one, in nats; NaN without a final one."""


class Vocabulary:
    """A model's unembedding on a device.

    Parameters
    ----------
    readout : nashlens.models.weights.Readout
    device : torch.device or str
    """

    def __init__(self, readout: Readout, device: torch.device | str = "cpu"):
        self.readout, self.device = readout, torch.device(device)
        larger = 4 if self.device.type == "cuda" else 1
        self.block, self.piece = larger * VOCABULARY_BLOCK, larger * PIECE
        self._there: torch.Tensor | None = None
        if self.device.type != "cpu":
            there = torch.empty(readout.unembedding.shape, device=self.device)
            for start in range(0, len(self), VOCABULARY_BLOCK):
                rows = slice(start, start + VOCABULARY_BLOCK)
                there[rows] = self.rows(rows)
            self._there = there

    def __len__(self) -> int:
        return len(self.readout.unembedding)

    def rows(self, which: slice | NDArray[np.int64]) -> torch.Tensor:
        """Return some rows of the unembedding, in float32."""
        if self._there is not None:
            there = which if isinstance(which, slice) else torch.from_numpy(which)
            return self._there[there]
        # Copied where it is not writable: torch warns of such arrays.
        found = np.require(self.readout.unembedding[which], np.float32, ["C", "W"])
        return torch.from_numpy(found)

    def capped(self, logits: torch.Tensor) -> torch.Tensor:
        """Return `softcap * tanh(logits / softcap)`, or the logits where there is no soft-cap."""
        softcap = self.readout.softcap
        return logits if softcap is None else softcap * torch.tanh(logits / softcap)

    def normed(self, residual: NDArray[np.floating]) -> torch.Tensor:
        """Return residuals before the final norm as what is multiplied, (n, width)."""
        return torch.from_numpy(self.readout.norm(residual)).to(self.device)

    def token_logits(self, hidden: torch.Tensor, tokens: NDArray[np.int64]) -> torch.Tensor:
        """Return the logits of some tokens, (n, k), for normed residuals, (n, width)."""
        columns = [
            torch.einsum("ij,ij->i", hidden, self.rows(tokens[:, k]))
            for k in range(tokens.shape[1])
        ]
        return self.capped(torch.stack(columns, dim=1)) if columns else hidden[:, :0]

    def scan(
        self,
        hidden: torch.Tensor,
        tokens: NDArray[np.int64] | None = None,
        final: Final | None = None,
        rows: slice = slice(None),
    ) -> Scan:
        """Pass normed residuals over the vocabulary.

        Parameters
        ----------
        hidden : torch.Tensor
            `(n, width)` normed residuals.
        tokens : ndarray of int, shape (n, k), optional
            Tokens whose ranks are wanted.
        final : Final, optional
            The distributions from which the divergence is measured.
        rows : slice
            The rows of `final` that belong to `hidden`.
        """
        n = len(hidden)
        asked = np.zeros((n, 0), dtype=np.int64) if tokens is None else tokens
        own, at = self.token_logits(hidden, asked), torch.from_numpy(asked).to(self.device)
        top = torch.full((n,), -torch.inf, dtype=torch.float64, device=self.device)
        total, cross = torch.zeros_like(top), torch.zeros_like(top)
        ranks = torch.ones(asked.shape, dtype=torch.int64, device=self.device)
        capped = final is not None and self.readout.softcap is not None
        distribution = final.at(rows) if final is not None else None
        for start in range(0, len(self), self.block):
            block = self.rows(slice(start, start + self.block))
            logits = self.capped(hidden @ block.T)
            for k in range(asked.shape[1]):
                ranks[:, k] += _larger(logits, own[:, k], at[:, k] - start)
            if capped and distribution is not None:
                cross += (distribution.log_probabilities(block).exp_() * logits).sum(dim=1)
            # A running log-sum-exp: the sum so far is scaled to the new largest logit.
            peak = torch.maximum(top, logits.amax(dim=1).double())
            logits -= peak[:, None].float()
            # The sum is scaled by the peak as it was subtracted, in float32.
            peak = peak.float().double()
            total = total * torch.exp(top - peak) + logits.exp_().sum(dim=1, dtype=torch.float64)
            top = peak
        partition = top + torch.log(total)
        if distribution is None:
            divergence = torch.full_like(partition, torch.nan)
        else:
            if not capped:
                cross = torch.einsum("ij,ij->i", hidden.double(), distribution.expected)
            # Rounding can take a divergence of 0 below it.
            divergence = torch.clamp(partition - cross - distribution.entropy, min=0.0)
        return Scan(*(value.cpu().numpy() for value in (partition, ranks, divergence)))


class _Distributions(NamedTuple):
    """The final distributions of some residuals, on the device."""

    vocabulary: Vocabulary
    hidden: torch.Tensor
    log_partition: torch.Tensor
    entropy: torch.Tensor
    expected: torch.Tensor

    def log_probabilities(self, block: torch.Tensor) -> torch.Tensor:
        """Return log p of a block's tokens, (n, tokens), in float64."""
        logits = self.vocabulary.capped(self.hidden @ block.T)
        return logits.double() - self.log_partition[:, None]


class Final:
    """The model's own distributions, with which other layers' are compared.

    They are kept on the host, whatever computes.

    Parameters
    ----------
    vocabulary : Vocabulary
    residual : ndarray, shape (n, width)
        The last layer's, before the final norm.
    """

    def __init__(self, vocabulary: Vocabulary, residual: NDArray[np.floating]):
        self.vocabulary = vocabulary
        self.hidden = torch.from_numpy(vocabulary.readout.norm(residual))
        n = len(self.hidden)
        self.log_partition = torch.zeros(n, dtype=torch.float64)
        self.entropy = torch.zeros_like(self.log_partition)
        # Another layer's expected logit under p, sum_v p(v) h.u(v), is h times sum_v p(v) u(v):
        # with that vector a divergence needs no second pass over the vocabulary.
        self.expected = torch.zeros(self.hidden.shape, dtype=torch.float64)
        for start in range(0, n, vocabulary.piece):
            rows = slice(start, start + vocabulary.piece)
            partition = vocabulary.scan(self.hidden[rows].to(vocabulary.device)).log_partition
            self.log_partition[rows] = torch.from_numpy(partition)
            here = self.at(rows)
            for first in range(0, len(vocabulary), vocabulary.block):
                block = vocabulary.rows(slice(first, first + vocabulary.block))
                log_p = here.log_probabilities(block)
                p = torch.exp(log_p)
                here.entropy.sub_((p * log_p).sum(dim=1))
                here.expected.add_(p.float() @ block)
            self.entropy[rows], self.expected[rows] = here.entropy.cpu(), here.expected.cpu()

    def at(self, rows: slice) -> _Distributions:
        """Return those of some residuals, on the device."""
        values = (self.hidden, self.log_partition, self.entropy, self.expected)
        device = self.vocabulary.device
        return _Distributions(self.vocabulary, *(value[rows].to(device) for value in values))


def _larger(logits: torch.Tensor, own: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """Count a block's logits above each row's own, whose place in the block is `at`."""
    above = logits > own[:, None]
    # The token's own logit, summed in another order, may differ in its last bit.
    places = torch.arange(logits.shape[1], device=logits.device)
    return (above & (places != at[:, None])).sum(dim=1)
