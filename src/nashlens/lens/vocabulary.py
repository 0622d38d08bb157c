"""One pass of normed residuals over the whole vocabulary: normaliser, ranks and divergence.

The vocabulary is read in blocks, so memory does not grow with it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nashlens.models.weights import Readout

VOCABULARY_BLOCK = 4096
"""Number of rows of the unembedding that are multiplied at once; it bounds memory only."""


class Scan(NamedTuple):
    """What one pass over the vocabulary gives, for n residuals."""

    log_partition: NDArray[np.float64]
    """(n,): log of the summed exponentials of all logits."""
    ranks: NDArray[np.int64]
    """(n, k): 1 + the number of tokens with a larger logit than each token that is asked about."""
    divergence: NDArray[np.float64]
    """(n,): KL of the final distribution from this one, in nats; NaN without a final one."""


def soft_capped(logits: NDArray[np.float32], softcap: float | None) -> NDArray[np.float32]:
    """Return `softcap * tanh(logits / softcap)`, or the logits where there is no soft-cap."""
    if softcap is None:
        return logits
    return np.float32(softcap) * np.tanh(logits / np.float32(softcap))


def token_logits(
    hidden: NDArray[np.float32], readout: Readout, tokens: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return the logits of some tokens, (n, k), for normed residuals, (n, width)."""
    columns = [
        np.einsum("ij,ij->i", hidden, readout.unembedding[tokens[:, k]])
        for k in range(tokens.shape[1])
    ]
    return soft_capped(np.stack(columns, axis=1), readout.softcap)


class Final:
    """The model's own distributions, with which other layers' are compared.

    Parameters
    ----------
    readout : nashlens.models.weights.Readout
    residual : ndarray, shape (n, width)
        The last layer's, before the final norm.
    """

    def __init__(self, readout: Readout, residual: NDArray[np.floating]):
        self.hidden = readout.norm(residual)
        self.log_partition = scan(self.hidden, readout).log_partition
        self.entropy = np.zeros(len(self.hidden))
        # Another layer's expected logit under p, sum_v p(v) h.u(v), is h times sum_v p(v) u(v):
        # with that vector a divergence needs no second pass over the vocabulary.
        self.expected = np.zeros(self.hidden.shape)
        for start in range(0, len(readout.unembedding), VOCABULARY_BLOCK):
            block = readout.unembedding[start : start + VOCABULARY_BLOCK]
            log_p = self.log_probabilities(readout, block)
            p = np.exp(log_p)
            self.entropy -= (p * log_p).sum(axis=1)
            self.expected += p.astype(np.float32) @ block

    def log_probabilities(
        self, readout: Readout, block: NDArray[np.float32], rows: slice = slice(None)
    ) -> NDArray[np.float64]:
        """Return log p of a block's tokens, (n, tokens)."""
        logits = soft_capped(self.hidden[rows] @ block.T, readout.softcap)
        return logits.astype(np.float64) - self.log_partition[rows, None]


def scan(
    hidden: NDArray[np.float32],
    readout: Readout,
    tokens: NDArray[np.int64] | None = None,
    final: Final | None = None,
    rows: slice = slice(None),
) -> Scan:
    """Pass normed residuals over the vocabulary.

    Parameters
    ----------
    hidden : ndarray of float32, shape (n, width)
        Normed residuals.
    readout : nashlens.models.weights.Readout
    tokens : ndarray of int, shape (n, k), optional
        Tokens whose ranks are wanted.
    final : Final, optional
        The distributions from which the divergence is measured.
    rows : slice
        The rows of `final` that belong to `hidden`.
    """
    n = len(hidden)
    top, total = np.full(n, -np.inf), np.zeros(n)
    asked = np.zeros((n, 0), dtype=np.int64) if tokens is None else tokens
    own = token_logits(hidden, readout, asked) if asked.shape[1] else np.zeros((n, 0), np.float32)
    ranks = np.ones(asked.shape, dtype=np.int64)
    cross = np.zeros(n)
    for start in range(0, len(readout.unembedding), VOCABULARY_BLOCK):
        block = readout.unembedding[start : start + VOCABULARY_BLOCK]
        logits = soft_capped(hidden @ block.T, readout.softcap)
        for k in range(asked.shape[1]):
            ranks[:, k] += _larger(logits, own[:, k], asked[:, k] - start)
        if final is not None and readout.softcap is not None:
            cross += (np.exp(final.log_probabilities(readout, block, rows)) * logits).sum(axis=1)
        # A running log-sum-exp: the sum so far is scaled to the new largest logit.
        peak = np.maximum(top, logits.max(axis=1))
        logits -= peak[:, None].astype(np.float32)
        # The sum is scaled by the peak as it was subtracted, in float32.
        peak = peak.astype(np.float32).astype(np.float64)
        total = total * np.exp(top - peak) + np.exp(logits).sum(axis=1, dtype=np.float64)
        top = peak
    partition = top + np.log(total)
    if final is None:
        return Scan(partition, ranks, np.full(n, np.nan))
    if readout.softcap is None:
        cross = np.einsum("ij,ij->i", hidden.astype(np.float64), final.expected[rows])
    divergence = partition - cross - final.entropy[rows]
    # Rounding can take a divergence of 0 below it.
    return Scan(partition, ranks, np.maximum(divergence, 0.0))


def _larger(
    logits: NDArray[np.float32], own: NDArray[np.float32], at: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Count a block's logits above each row's own, whose place in the block is `at`."""
    above = logits > own[:, None]
    inside = np.flatnonzero((at >= 0) & (at < logits.shape[1]))
    # The token's own logit, summed in another order, may differ in its last bit.
    above[inside, at[inside]] = False
    count: NDArray[np.int64] = above.sum(axis=1)
    return count
