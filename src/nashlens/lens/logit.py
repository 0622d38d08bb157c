"""The logit lens: what each layer would answer, were it the last.

The stored residual of a layer goes through the model's own final norm, whose statistics are
computed anew at each layer, and the unembedding. At the last layer this is the model's own
output. The lens reads first tokens: where a label has several, `n_label_tokens` says so.

`p_action_0` and `p_action_1` compare the two labels alone. `label_mass` is what the two had of
the whole vocabulary before that: where it is tiny, the layer speaks about something else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from nashlens.errors import DataError
from nashlens.models.weights import Readout

LoadLayer = Callable[[int], NDArray[np.floating]]

VOCABULARY_BLOCK = 4096
"""Rows of the unembedding that are multiplied at once: bounds memory, changes no result."""


def _capped(logits: NDArray[np.float32], softcap: float | None) -> NDArray[np.float32]:
    if softcap is None:
        return logits
    return np.float32(softcap) * np.tanh(logits / np.float32(softcap))


def log_partition(
    hidden: NDArray[np.float32],
    unembedding: NDArray[np.float32],
    softcap: float | None = None,
) -> NDArray[np.float64]:
    """Return the exact log of the summed exponentials of all logits, (n,).

    The vocabulary passes in blocks, so memory does not grow with it.

    Parameters
    ----------
    hidden : ndarray of float32, shape (n, width)
        Normed residuals.
    unembedding : ndarray of float32, shape (vocabulary, width)
    softcap : float, optional
        Logits become `softcap * tanh(logits / softcap)`.
    """
    top = np.full(len(hidden), -np.inf, dtype=np.float64)
    total = np.zeros(len(hidden))
    for start in range(0, len(unembedding), VOCABULARY_BLOCK):
        block = slice(start, start + VOCABULARY_BLOCK)
        logits = _capped(hidden @ unembedding[block].T, softcap)
        peak = np.maximum(top, logits.max(axis=1))
        logits -= peak[:, None].astype(np.float32)
        # The float32 peak that was subtracted, not its float64 twin, goes into the sum's scale.
        peak = peak.astype(np.float32).astype(np.float64)
        total = total * np.exp(top - peak) + np.exp(logits).sum(axis=1, dtype=np.float64)
        top = peak
    return top + np.log(total)


def _label_tokens(prompts: pd.DataFrame, vocabulary: int) -> tuple[NDArray[np.int64], NDArray]:
    """Return first label tokens, (n, 2), and the longer label's token count, (n,)."""
    sequences = [prompts["label_tokens_0"].to_list(), prompts["label_tokens_1"].to_list()]
    lengths = np.array([[len(tokens) for tokens in column] for column in sequences]).T
    if lengths.size and lengths.min() == 0:
        raise DataError("label_tokens_0 or label_tokens_1 is empty; make the prompts again")
    first = np.array([[int(tokens[0]) for tokens in column] for column in sequences]).T
    if first.size and (first.min() < 0 or first.max() >= vocabulary):
        raise DataError(
            f"label token {int(first.max())} lies outside the unembedding's {vocabulary} rows;"
            " prompts and model do not belong together"
        )
    return first, lengths.max(axis=1) if len(lengths) else np.zeros(0, dtype=np.int64)


def lens_table(
    load_layer: LoadLayer,
    layers: Sequence[int],
    prompts: pd.DataFrame,
    *,
    readout: Readout,
    model: str,
    batch: int = 512,
    progress: Callable[[Sequence[int]], Iterable[int]] = iter,
) -> pd.DataFrame:
    """Read every layer through the final norm and the unembedding.

    Parameters
    ----------
    load_layer : callable
        Layer to residuals before the final norm, (n, width): one row for each row of `prompts`
        whose `dropped` is empty, in that order.
    layers : sequence of int
        0 is the embedding.
    prompts : DataFrame
        The prompts table; equal prompts are computed once and reported for each match.
    readout : nashlens.models.weights.Readout
        The model's final norm, unembedding and soft-cap.
    model : str
        Name for the table.
    batch : int
        Prompts multiplied at once.
    progress : callable, optional
        Wraps the iteration over layers, as `tqdm.tqdm` does.

    Returns
    -------
    DataFrame
        One row per layer and prompt, columns as in docs/reference/results.md.

    Raises
    ------
    DataError
        If shapes or label tokens do not fit one another.
    """
    used = prompts.loc[prompts["dropped"].fillna("") == ""].reset_index(drop=True)
    unembedding = readout.unembedding
    vocabulary, width = unembedding.shape
    first, n_tokens = _label_tokens(used, vocabulary)
    _, unique, inverse = np.unique(
        used["prompt_id"].to_numpy(dtype=str), return_index=True, return_inverse=True
    )
    tokens = first[unique]
    frames = []
    for layer in progress(list(layers)):
        residual = np.asarray(load_layer(layer))
        if residual.shape != (len(used), width):
            raise DataError(
                f"activations of layer {layer}: found shape {residual.shape}, need"
                f" ({len(used)}, {width}), one row for each prompt that is not dropped"
            )
        residual = residual[unique]
        logits = np.empty((len(unique), 2))
        partition = np.empty(len(unique))
        for start in range(0, len(unique), batch):
            rows = slice(start, start + batch)
            hidden = readout.norm(residual[rows])
            partition[rows] = log_partition(hidden, unembedding, readout.softcap)
            for action in (0, 1):
                token = tokens[rows, action]
                value = np.einsum("ij,ij->i", hidden, unembedding[token])
                logits[rows, action] = _capped(value, readout.softcap)
        p_1 = expit(logits[:, 1] - logits[:, 0])
        mass = np.exp(logits - partition[:, None]).sum(axis=1)
        frames.append(
            pd.DataFrame(
                {
                    "model": model,
                    "prompt_id": used["prompt_id"],
                    "match_id": used["match_id"],
                    "layer": layer,
                    "logit_0": logits[inverse, 0],
                    "logit_1": logits[inverse, 1],
                    "p_action_0": (1.0 - p_1)[inverse],
                    "p_action_1": p_1[inverse],
                    "label_mass": np.minimum(mass, 1.0)[inverse],
                    "n_label_tokens": n_tokens,
                }
            )
        )
    if not frames:
        raise DataError("the lens was given no layer; choose at least one")
    return pd.concat(frames, ignore_index=True)
