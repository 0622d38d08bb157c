"""The logit lens: what each layer would answer, were it the last.

The stored residual of a layer, translated first where a tuned lens is given, goes through the
model's own final norm, whose statistics are computed anew at each layer, and the unembedding. At
the last layer this is the model's own output.

P(label) is over the whole label: where it has several tokens, the product of each token's
probability after those before it, all read at the same layer. `p_action_0` and `p_action_1`
compare the two labels alone. `label_mass` is what the two had of the whole vocabulary before that:
where it is tiny, the layer speaks about something else. `prior_action_1` is `p_action_1` of the
content-free prompt that asks the same question about nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from nashlens.errors import DataError
from nashlens.kept import kept
from nashlens.lens.vocabulary import Final, scan, token_logits
from nashlens.models.weights import Readout
from nashlens.prompts.labels import prompt_id

Load = Callable[[int, Sequence[str]], NDArray[np.floating]]
Translate = Callable[[int, NDArray[np.floating]], NDArray[np.floating]]


@dataclass(frozen=True)
class _Questions:
    """Distinct prompts, content-free ones after the others, and the labels of each."""

    ids: list[str]
    tokens: NDArray[np.int64]
    """(n, 2): the labels' first tokens."""
    lengths: NDArray[np.int64]
    """(n,): tokens of the longer label."""
    of: NDArray[np.int64]
    """(rows of the prompts table,): each row's question."""
    prior: NDArray[np.int64]
    """(rows of the prompts table,): each row's content-free question; -1 for none."""
    rest_ids: list[str]
    """What labels of several tokens add: prompts with all but the label's last tokens."""
    rest_tokens: NDArray[np.int64]
    """(m, 1): the token that comes next in each."""
    rest_of: NDArray[np.int64]
    """(m, 2): the question and the action that each belongs to."""


def _questions(used: pd.DataFrame, vocabulary: int) -> _Questions:
    pairs = [
        tuple(tuple(int(token) for token in label) for label in pair)
        for pair in zip(used["label_tokens_0"], used["label_tokens_1"], strict=True)
    ]
    _check_labels(pairs, vocabulary)
    known: dict[tuple[Any, ...], int] = {}
    sequences: list[Any] = []

    def number(ids: str, tokens: str) -> NDArray[np.int64]:
        have = used[tokens] if tokens in used.columns else [None] * len(used)
        numbers = []
        for name, pair, sequence in zip(used[ids], pairs, have, strict=True):
            if (name, pair) not in known:
                known[name, pair] = len(known)
                sequences.append(sequence)
            numbers.append(known[name, pair])
        return np.array(numbers, dtype=np.int64)

    of = number("prompt_id", "token_ids")
    prior = np.full(len(used), -1, dtype=np.int64)
    if "prior_id" in used.columns:
        prior = number("prior_id", "prior_token_ids")
    labels = [pair for _, pair in known]
    rest = list(_rest(labels, sequences))
    return _Questions(
        ids=[str(name) for name, _ in known],
        tokens=np.array([[label[0] for label in pair] for pair in labels]).reshape(-1, 2),
        lengths=np.array([max(map(len, pair)) for pair in labels], dtype=np.int64),
        of=of,
        prior=prior,
        rest_ids=[name for name, _, _ in rest],
        rest_tokens=np.array([token for _, token, _ in rest], dtype=np.int64).reshape(-1, 1),
        rest_of=np.array([whose for _, _, whose in rest], dtype=np.int64).reshape(-1, 2),
    )


def _check_labels(pairs: Sequence[Sequence[Sequence[int]]], vocabulary: int) -> None:
    if any(not label for pair in pairs for label in pair):
        raise DataError("label_tokens_0 or label_tokens_1 is empty; make the prompts again")
    every = [token for pair in pairs for label in pair for token in label]
    if every and (min(every) < 0 or max(every) >= vocabulary):
        raise DataError(
            f"label token {max(every)} lies outside the unembedding's {vocabulary} rows;"
            " prompts and model do not belong together"
        )


def _rest(
    labels: Sequence[Sequence[Sequence[int]]], sequences: Sequence[Any]
) -> Iterator[tuple[str, int, tuple[int, int]]]:
    """Yield what labels of several tokens add: prompt id, next token, (question, action)."""
    for question, (pair, sequence) in enumerate(zip(labels, sequences, strict=True)):
        for action, label in enumerate(pair):
            for end in range(1, len(label)):
                if sequence is None:
                    raise DataError("labels of several tokens need token_ids in the prompts table")
                begun = [*map(int, sequence), *label[:end]]
                yield prompt_id(begun), label[end], (question, action)


def lens_table(
    load: Load,
    layers: Sequence[int],
    prompts: pd.DataFrame,
    *,
    readout: Readout,
    model: str,
    last: int,
    translate: Translate | None = None,
    batch: int = 512,
    progress: Callable[[Sequence[int]], Iterable[int]] = iter,
) -> pd.DataFrame:
    """Read every layer through the final norm and the unembedding.

    Parameters
    ----------
    load : callable
        (layer, prompt ids) to residuals before the final norm, (n, width). Asked for prompts, for
        content-free ones where `prompts` has a `prior_id`, and for what labels of several tokens
        need (`nashlens.prompts.extra`).
    layers : sequence of int
        0 is the embedding.
    prompts : DataFrame
        The prompts table; equal prompts are computed once and reported for each match.
    readout : nashlens.models.weights.Readout
        The model's final norm, unembedding and soft-cap.
    model : str
        Name for the table.
    last : int
        The model's last layer, whose distribution others are compared with.
    translate : callable, optional
        (layer, residuals) to what is read in their place: a tuned lens.
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
    used = kept(prompts).reset_index(drop=True)
    asked = _questions(used, len(readout.unembedding))
    final = Final(readout, _loaded(load, last, asked.ids, readout))
    frames = []
    for layer in progress(list(layers)):
        residual = _loaded(load, layer, asked.ids, readout)
        rest = _loaded(load, layer, asked.rest_ids, readout)
        if translate is not None:
            residual, rest = translate(layer, residual), translate(layer, rest)
        read = _read(residual, rest, asked, readout, final, batch)
        p_1 = read["p_action_1"]
        prior = np.where(asked.prior >= 0, p_1[asked.prior], np.nan)
        frames.append(
            pd.DataFrame(
                {
                    "model": model,
                    "prompt_id": used["prompt_id"],
                    "match_id": used["match_id"],
                    "layer": layer,
                    **{name: values[asked.of] for name, values in read.items()},
                    "prior_action_1": prior,
                    "n_label_tokens": asked.lengths[asked.of],
                }
            )
        )
    if not frames:
        raise DataError("the lens was given no layer; choose at least one")
    return pd.concat(frames, ignore_index=True)


def _loaded(load: Load, layer: int, ids: Sequence[str], readout: Readout) -> NDArray[np.floating]:
    width = readout.unembedding.shape[1]
    if not len(ids):
        return np.empty((0, width), dtype=np.float32)
    residual = np.asarray(load(layer, ids))
    if residual.shape != (len(ids), width):
        raise DataError(
            f"activations of layer {layer}: found shape {residual.shape}, need"
            f" ({len(ids)}, {width}), one row for each prompt that is not dropped"
        )
    return residual


def _read(
    residual: NDArray[np.floating],
    rest: NDArray[np.floating],
    asked: _Questions,
    readout: Readout,
    final: Final,
    batch: int,
) -> dict[str, NDArray]:
    """Return a layer's columns, one value a question."""
    n = len(residual)
    logits, partition = np.empty((n, 2)), np.empty(n)
    ranks, divergence = np.empty((n, 2), dtype=np.int64), np.empty(n)
    for start in range(0, n, batch):
        rows = slice(start, start + batch)
        hidden = readout.norm(residual[rows])
        found = scan(hidden, readout, asked.tokens[rows], final, rows)
        partition[rows], ranks[rows] = found.log_partition, found.ranks
        divergence[rows] = found.divergence
        logits[rows] = token_logits(hidden, readout, asked.tokens[rows])
    for start in range(0, len(rest), batch):
        rows = slice(start, start + batch)
        hidden = readout.norm(rest[rows])
        more = token_logits(hidden, readout, asked.rest_tokens[rows])[:, 0].astype(np.float64)
        more -= scan(hidden, readout).log_partition
        np.add.at(logits, tuple(asked.rest_of[rows].T), more)
    p_1 = expit(logits[:, 1] - logits[:, 0])
    mass = np.exp(logits - partition[:, None]).sum(axis=1)
    return {
        "logit_0": logits[:, 0],
        "logit_1": logits[:, 1],
        "p_action_0": 1.0 - p_1,
        "p_action_1": p_1,
        "label_mass": np.minimum(mass, 1.0),
        "rank_0": ranks[:, 0],
        "rank_1": ranks[:, 1],
        "kl": divergence,
    }
