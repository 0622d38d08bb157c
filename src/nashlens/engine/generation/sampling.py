"""Which token comes next: the likeliest, or a draw that a request's own seed decides.

A draw inverts the cumulative distribution of the whole vocabulary, in the vocabulary's order, at a
uniform number that depends only on the request's seed and the token's index. So a sample does not
depend on what else runs at the same time, or in which order.
"""

from __future__ import annotations

import numpy as np
import torch

from nashlens.seeds import stream

INVALID = -2
"""In place of a token where the logits are not finite."""

_BITS = 23


def uniforms(seed: int, n: int) -> np.ndarray:
    """Return the uniform numbers of a request's first `n` tokens: `(n,)` float32 in [0, 1).

    They are multiples of 2**-23, and the first ones do not depend on `n`. With 23 bits, a number
    times any total below 2 rounds to less than the total in float32, so that no draw falls off the
    vocabulary's end.
    """
    drawn = np.floor(np.ldexp(stream(seed, "generation").random(n), _BITS))
    return np.ldexp(drawn, -_BITS).astype(np.float32)


def draw_tokens(
    logits: torch.Tensor, uniform: torch.Tensor | None, temperature: float
) -> torch.Tensor:
    """Return the next token of each row, `(n,)` int64; `INVALID` where the logits are not finite.

    Parameters
    ----------
    logits : torch.Tensor
        `(n, vocabulary)` float32.
    uniform : torch.Tensor or None
        `(n,)` float32, one of `uniforms` for each row; not used where the temperature is 0.
    temperature : float
        0 takes the likeliest token (the first of equals). Otherwise the token is the first one
        whose cumulative softmax(logits / temperature) exceeds `uniform` times the total.
    """
    if temperature == 0.0:
        total, token = logits.max(dim=-1)
    else:
        assert uniform is not None
        cumulative = torch.softmax(logits / temperature, dim=-1).cumsum(dim=-1)
        total = cumulative[:, -1]
        token = torch.searchsorted(cumulative, (uniform * total)[:, None], right=True)[:, 0]
    return token.masked_fill(~total.isfinite(), INVALID)
