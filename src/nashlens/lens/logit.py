"""The logit lens: what each layer would answer, were it the last.

The stored residual of a layer (translated first, if a tuned lens is given) goes through the model's
own final norm, whose statistics are computed anew at each layer, and the unembedding. At the last
layer this is the model's own output.

Labels are compared at the first token in which they differ; tokens that they share before it are
read as part of the prompt. `p_action_0` and `p_action_1` compare only these two tokens.
`label_mass` is what the two had of the whole vocabulary before that: where it is tiny, the layer
speaks about something else. `prior_action_1` is `p_action_1` of the content-free prompt that asks
the same question about nothing.

`whole_action_1` compares the whole labels instead: P(label) is then the product of each token's
probability after those before it, all read at the same layer. At the last layer that is the model's
own P(action). At a layer that knows nothing yet, each further token costs a label a factor of
thousands, so the label of fewer tokens wins there, whatever it means.

The residuals of everything that is read here are stored, so nothing is run: that is why labels are
not scored by `nashlens.engine.labels`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from nashlens.chunks import each
from nashlens.errors import DataError
from nashlens.kept import kept
from nashlens.lens.vocabulary import Final, Vocabulary
from nashlens.models.weights import Readout
from nashlens.prompts.labels import prompt_id

LoadPrompts = Callable[[int, Sequence[str]], NDArray[np.floating]]
"""From a layer and prompt ids to residuals before the final norm, (n, width)."""
Translate = Callable[[int, NDArray[np.floating]], NDArray[np.floating]]
"""From a layer and its residuals to what is read instead of them."""
Label = tuple[int, ...]


@dataclass(frozen=True)
class _LensPrompts:
    """Distinct prompts with their labels; content-free prompts come after the others."""

    ids: list[str]
    """Each prompt with the tokens that its labels share."""
    tokens: NDArray[np.int64]
    """(n, 2): the first tokens in which the labels differ."""
    shared: NDArray[np.int64]
    """(n,): number of tokens that the labels share before them."""
    lengths: NDArray[np.int64]
    """(n,): number of tokens of the longer label."""
    index: NDArray[np.int64]
    """(rows of the prompts table,): which of the n prompts each row is."""
    prior: NDArray[np.int64]
    """(rows of the prompts table,): which one is each row's content-free prompt; -1 for none."""
    later_ids: list[str]
    """For each token of a label after these: the prompt with the label's tokens before it."""
    later_tokens: NDArray[np.int64]
    """(m, 1): the later token."""
    later_index: NDArray[np.int64]
    """(m, 2): which of the n prompts, and which action."""


class ResidualCounts(NamedTuple):
    """How many residuals a lens reads at each layer."""

    asked: int
    """Of prompts, content-free ones included."""
    later: int
    """For later tokens of labels."""


def residual_counts(prompts: pd.DataFrame) -> ResidualCounts:
    """Count what `lens_table` would read at each layer.

    Parameters
    ----------
    prompts : DataFrame
        The prompts table.
    """
    asked = _lens_prompts(kept(prompts).reset_index(drop=True))
    return ResidualCounts(len(asked.ids), len(asked.later_ids))


def _label_pairs(used: pd.DataFrame) -> list[tuple[Label, Label]]:
    return [
        (tuple(map(int, first)), tuple(map(int, second)))
        for first, second in zip(used["label_tokens_0"], used["label_tokens_1"], strict=True)
    ]


def _lens_prompts(used: pd.DataFrame) -> _LensPrompts:
    pairs = _label_pairs(used)
    # The number of each distinct prompt and pair of labels, and its token ids where they are known.
    numbers: dict[tuple[str, tuple[Label, Label]], int] = {}
    sequences: list[Any] = []

    def numbered(id_column: str, tokens_column: str) -> NDArray[np.int64]:
        known = tokens_column in used.columns
        ids_of_tokens = used[tokens_column] if known else [None] * len(used)
        for name, pair, sequence in zip(used[id_column], pairs, ids_of_tokens, strict=True):
            if (name, pair) not in numbers:
                numbers[name, pair] = len(numbers)
                sequences.append(sequence)
        keys = zip(used[id_column], pairs, strict=True)
        return np.array([numbers[key] for key in keys], dtype=np.int64)

    index = numbered("prompt_id", "token_ids")
    prior = np.full(len(used), -1, dtype=np.int64)
    if "prior_id" in used.columns:
        prior = numbered("prior_id", "prior_token_ids")
    labels = [pair for _, pair in numbers]
    shared = [_shared_tokens(*pair) for pair in labels]
    later = list(_later_tokens(labels, shared, sequences))
    return _LensPrompts(
        ids=[
            _followed(sequence, pair[0][:k]) if k else str(name)
            for (name, pair), k, sequence in zip(numbers, shared, sequences, strict=True)
        ],
        tokens=np.array(
            [[label[k] for label in pair] for pair, k in zip(labels, shared, strict=True)],
            dtype=np.int64,
        ).reshape(-1, 2),
        shared=np.array(shared, dtype=np.int64),
        lengths=np.array([max(map(len, pair)) for pair in labels], dtype=np.int64),
        index=index,
        prior=prior,
        later_ids=[name for name, _, _ in later],
        later_tokens=np.array([token for _, token, _ in later], dtype=np.int64).reshape(-1, 1),
        later_index=np.array([where for _, _, where in later], dtype=np.int64).reshape(-1, 2),
    )


def _check_labels(pairs: Sequence[tuple[Label, Label]], vocabulary: int) -> None:
    if any(not label for pair in pairs for label in pair):
        raise DataError("label_tokens_0 or label_tokens_1 is empty: a label has a token at least")
    every = [token for pair in pairs for label in pair for token in label]
    if every and (min(every) < 0 or max(every) >= vocabulary):
        raise DataError(
            f"label token {max(every)} lies outside the unembedding's {vocabulary} rows;"
            " prompts and model do not belong together"
        )


def _shared_tokens(first: Label, second: Label) -> int:
    """Return the number of tokens with which both labels start."""
    for k, (a, b) in enumerate(zip(first, second, strict=False)):
        if a != b:
            return k
    raise DataError(
        f"labels of tokens {list(first)} and {list(second)}: one starts with all of the other;"
        " choose other labels"
    )


def _followed(sequence: Any, beginning: Label) -> str:
    """Return the id of a prompt that is followed by the beginning of a label."""
    if sequence is None:
        raise DataError("labels of several tokens need token_ids in the prompts table")
    return prompt_id([*map(int, sequence), *beginning])


def _later_tokens(
    labels: Sequence[tuple[Label, Label]], shared: Sequence[int], sequences: Sequence[Any]
) -> Iterator[tuple[str, int, tuple[int, int]]]:
    """Yield what follows a label's first different token: id of what comes before, token, where."""
    for number, (pair, known, sequence) in enumerate(zip(labels, shared, sequences, strict=True)):
        for action, label in enumerate(pair):
            for end in range(known + 1, len(label)):
                yield _followed(sequence, label[:end]), label[end], (number, action)


def lens_table(
    load: LoadPrompts,
    layers: Sequence[int],
    prompts: pd.DataFrame,
    *,
    readout: Readout,
    model: str,
    last: int,
    translate: Translate | None = None,
    device: str = "cpu",
    threads: int = 1,
) -> pd.DataFrame:
    """Read every layer through the final norm and the unembedding.

    Parameters
    ----------
    load : callable
        (layer, prompt ids) to residuals before the final norm, (n, width). It is called with
        prompts, with content-free ones if `prompts` has a `prior_id`, and with what labels of
        several tokens need (`nashlens.prompts.extra`).
    layers : sequence of int
        0 is the embedding.
    prompts : DataFrame
        The prompts table; equal prompts are computed once and reported for each match.
    readout : nashlens.models.weights.Readout
        The model's final norm, unembedding and soft-cap.
    model : str
        Name for the table.
    last : int
        The model's last layer, with whose distribution others are compared.
    translate : callable, optional
        (layer, residuals) to what is read instead of them: a tuned lens.
    device : str
        What multiplies, as torch names it.
    threads : int
        Layers that are read side by side on a CPU; a GPU reads one after the other.

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
    _check_labels(_label_pairs(used), len(readout.unembedding))
    asked = _lens_prompts(used)
    vocabulary = Vocabulary(readout, device)
    final = Final(vocabulary, _load_checked(load, last, asked.ids, readout))

    def read(layer: int) -> dict[str, NDArray]:
        residual = _load_checked(load, layer, asked.ids, readout)
        later = _load_checked(load, layer, asked.later_ids, readout)
        if translate is not None:
            residual, later = translate(layer, residual), translate(layer, later)
        return _layer_columns(residual, later, asked, vocabulary, final)

    frames = []
    threads = threads if vocabulary.device.type == "cpu" else 1
    name = "lens" if translate is None else "tuned lens"
    for layer, columns in zip(
        layers, each(layers, read, name, unit="layer", threads=threads), strict=True
    ):
        p_1 = columns["p_action_1"]
        prior = np.where(asked.prior >= 0, p_1[asked.prior], np.nan)
        frames.append(
            pd.DataFrame(
                {
                    "model": model,
                    "prompt_id": used["prompt_id"],
                    "match_id": used["match_id"],
                    "layer": layer,
                    **{name: values[asked.index] for name, values in columns.items()},
                    "prior_action_1": prior,
                    "first_different_token": asked.shared[asked.index],
                    "n_label_tokens": asked.lengths[asked.index],
                }
            )
        )
    if not frames:
        raise DataError("the lens was given no layer; choose at least one")
    return pd.concat(frames, ignore_index=True)


def _load_checked(
    load: LoadPrompts, layer: int, ids: Sequence[str], readout: Readout
) -> NDArray[np.floating]:
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


def _layer_columns(
    residual: NDArray[np.floating],
    later: NDArray[np.floating],
    asked: _LensPrompts,
    vocabulary: Vocabulary,
    final: Final,
) -> dict[str, NDArray]:
    """Return a layer's columns, one value for each distinct prompt."""
    n = len(residual)
    logits, partition = np.empty((n, 2)), np.empty(n)
    ranks, divergence = np.empty((n, 2), dtype=np.int64), np.empty(n)
    for start in range(0, n, vocabulary.piece):
        rows = slice(start, start + vocabulary.piece)
        hidden = vocabulary.normed(residual[rows])
        found = vocabulary.scan(hidden, asked.tokens[rows], final, rows)
        partition[rows], ranks[rows] = found.log_partition, found.ranks
        divergence[rows] = found.divergence
        logits[rows] = vocabulary.token_logits(hidden, asked.tokens[rows]).cpu().numpy()
    # A whole label's later tokens add their log-probabilities to the logit of the one above.
    whole = logits.astype(np.float64)
    for start in range(0, len(later), vocabulary.piece):
        rows = slice(start, start + vocabulary.piece)
        hidden = vocabulary.normed(later[rows])
        own = vocabulary.token_logits(hidden, asked.later_tokens[rows])[:, 0].double()
        added = own.cpu().numpy() - vocabulary.scan(hidden).log_partition
        np.add.at(whole, tuple(asked.later_index[rows].T), added)
    p_1 = expit(logits[:, 1] - logits[:, 0])
    mass = np.exp(logits - partition[:, None]).sum(axis=1)
    return {
        "logit_0": logits[:, 0],
        "logit_1": logits[:, 1],
        "p_action_0": 1.0 - p_1,
        "p_action_1": p_1,
        "whole_action_1": expit(whole[:, 1] - whole[:, 0]),
        "label_mass": np.minimum(mass, 1.0),
        "rank_0": ranks[:, 0],
        "rank_1": ranks[:, 1],
        "kl": divergence,
    }
