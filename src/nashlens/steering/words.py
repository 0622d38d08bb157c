"""How much of a direction is a word: its cosine with the difference of two labels' embeddings.

A direction of an early layer may be no more than the embedding of a word that the prompt holds, and
one of a late layer the unembedding of the word that comes next. Neither is a decision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nashlens.kept import neutral
from nashlens.models.weights import WeightReader
from nashlens.steering.cells import cells_of
from nashlens.vocabulary.prompts import LABEL_MAPS


def word_cosines(
    units: Mapping[str, NDArray[np.floating]], prompts: pd.DataFrame, weights: WeightReader
) -> pd.DataFrame:
    """Return the cosines of directions with the difference of the labels' embeddings.

    For the kinds `abstract` and `label` that is the pair's first label minus its second, averaged
    over label sets; for `published` the word of action 1 minus that of action 0, averaged over the
    prompts that it was fitted on. Labels that start alike differ by the first token in which they
    do. The unembedding is taken through the final norm's weights, as a residual meets it.

    Parameters
    ----------
    units : mapping of str to ndarray, shape (layers + 1, width)
    prompts : DataFrame
        Training prompts.
    weights : WeightReader

    Returns
    -------
    DataFrame
        `direction`, `layer`, `cos_embedding`, `cos_unembedding`; missing where there is none.
    """
    prompts = prompts.reset_index(drop=True)
    parts = []
    for kind, directions in units.items():
        pairs = _published_pairs(prompts) if kind == "published" else _neutral_pairs(prompts)
        tokens = np.array(pairs, dtype=np.int64)
        embed, unembed = (
            (rows[: len(tokens)] - rows[len(tokens) :]).mean(axis=0)
            for table in (_embedding, _unembedding)
            for rows in [table(weights, tokens.T.ravel())]
        )
        parts.append(
            pd.DataFrame(
                {
                    "direction": kind,
                    "layer": np.arange(len(directions)),
                    "cos_embedding": _cosines(directions, embed),
                    "cos_unembedding": _cosines(directions, unembed),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def _embedding(weights: WeightReader, tokens: NDArray[np.int64]) -> NDArray[np.float64]:
    return weights.tensor(f"{weights.architecture.embed}.weight", tokens).astype(np.float64)


def _unembedding(weights: WeightReader, tokens: NDArray[np.int64]) -> NDArray[np.float64]:
    return weights.unembedding(tokens).astype(np.float64) * weights.final_norm().weight


def _cosines(directions: NDArray[np.floating], word: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(directions, axis=1) * np.linalg.norm(word)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((directions @ word) / np.where(lengths > 0, lengths, np.nan))


def _neutral_pairs(prompts: pd.DataFrame) -> list[tuple[int, int]]:
    """Return the tokens of each label set's first and second label."""
    rows = neutral(prompts).drop_duplicates("label_set")
    swapped = rows["label_map"] == LABEL_MAPS[1]
    pairs = zip(rows["label_tokens_0"], rows["label_tokens_1"], swapped, strict=True)
    return [_told_apart(b, a) if other else _told_apart(a, b) for a, b, other in pairs]


def _published_pairs(prompts: pd.DataFrame) -> list[tuple[int, int]]:
    """Return the tokens of the words of action 1 and action 0 in each prompt."""
    (cell,) = cells_of(prompts, "published")
    rows = prompts.iloc[np.concatenate([cell.minus, cell.plus])]
    return [
        _told_apart(one, zero)
        for zero, one in zip(rows["label_tokens_0"], rows["label_tokens_1"], strict=True)
    ]


def _told_apart(one: Sequence[int], other: Sequence[int]) -> tuple[int, int]:
    """Return the first tokens in which two labels differ."""
    return next((int(a), int(b)) for a, b in zip(one, other, strict=False) if a != b)
