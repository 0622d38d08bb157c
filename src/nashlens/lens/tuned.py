"""The tuned lens: an affine translator per layer, from its residual to the last one.

The logit lens reads every layer in the last layer's basis. A tuned lens (Belrose et al. 2023,
arXiv:2303.08112) first translates: for layer l, it reads ``h + h D_l + b_l`` as the last residual.
It is trained on the model's own residuals over plain text that has nothing to do with the study.
Here D and b are the ridge solution of predicting ``h_last - h``: a convex problem with one answer,
which with little text shrinks to the logit lens (D = 0) and not to noise. Each token has the
inverse square of its last residual's size as its weight, as the final norm divides by that size.
Each layer takes the penalty that predicts held-out passages best.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from nashlens.chunks import each
from nashlens.errors import DataError
from nashlens.files import sha256_of
from nashlens.lens.passages import CORPUS, Encoder, corpus
from nashlens.lens.tuned_file import VERSION, LensFile, translated, writing_tuned_lens
from nashlens.lens.vocabulary import Final, Vocabulary
from nashlens.seeds import stream

if TYPE_CHECKING:
    from nashlens.engine.core import Engine
    from nashlens.models.weights import Readout

log = logging.getLogger(__name__)

PENALTIES = (0.01, 0.1, 1.0, 10.0)
"""Ridge penalties, in mean squared lengths of the layer's (centred) residuals per dimension."""
SKIPPED = 4
"""Number of tokens left out at a chunk's start, where residuals are unlike all others."""
HELD_OUT = 0.2
"""Share of the chunks that is held out."""
CHUNK = 128
"""Number of tokens in a chunk; chunks are run separately."""
KL_TOKENS = 128
"""Number of held-out tokens at which divergences are measured."""


Array32 = NDArray[np.float32]


def text_chunks(tokenizer: Encoder, most: int) -> list[list[int]]:
    """Cut the bundled passages into chunks of at most `CHUNK` tokens, at most `most` tokens in all.

    Every chunk begins with the BOS, if the model has one.
    """
    bos = tokenizer.encode("")[:1]
    chunks: list[list[int]] = []
    for passage in corpus():
        ids = tokenizer.encode(passage)[len(bos) :]
        size = CHUNK - len(bos)
        chunks += [[*bos, *ids[start : start + size]] for start in range(0, len(ids), size)]
    chosen, total = [], 0
    for chunk in chunks:
        if len(chunk) > 2 * SKIPPED and total < most:
            chosen.append(chunk[: most - total] if most - total > 2 * SKIPPED else chunk)
            total += len(chosen[-1])
    if len(chosen) < 2:
        raise DataError(
            f"lens.tuned_tokens: {most} tokens make {len(chosen)} chunks of text; ask more"
        )
    return chosen


def text_residuals(
    engine: Engine, chunks: Sequence[Sequence[int]]
) -> tuple[Array32, NDArray[np.int64]]:
    """Return residuals over text, (tokens, layers + 1, width), and each token's chunk, (tokens,).

    The first `SKIPPED` tokens of each chunk are left out.
    """
    sequences = [
        list(chunk[:end]) for chunk in chunks for end in range(SKIPPED + 1, len(chunk) + 1)
    ]
    owner = np.repeat(np.arange(len(chunks)), [len(chunk) - SKIPPED for chunk in chunks])
    values = np.empty((len(sequences), engine.n_layers + 1, engine.width), dtype=np.float32)
    for indices, residuals in engine.residuals(sequences):
        values[indices] = residuals
    return values, owner


def hold_out(owner: NDArray[np.int64], seed: int, model: str) -> NDArray[np.bool_]:
    """Return whether each token is held out, (tokens,): whole chunks are, drawn by seed."""
    names = np.unique(owner)
    chosen = stream(seed, "tuned lens", model).permutation(names)
    return np.isin(owner, chosen[: max(1, round(HELD_OUT * len(names)))])


class LayerFit(NamedTuple):
    """One layer's translator, and how well it predicts the last residuals of held-out text."""

    matrix: Array32
    """(width, width)."""
    bias: Array32
    """(width,)."""
    penalty: float
    """The chosen one of `PENALTIES`."""
    error: float
    """Weighted squared error over the last residuals' size."""
    identity: float
    """The same without a translator."""


def fit_layer(
    x: Array32, last: Array32, held_out: NDArray[np.bool_], device: torch.device | str = "cpu"
) -> LayerFit:
    """Fit one layer's translator, in float64.

    Parameters
    ----------
    x, last : ndarray of float32, shape (tokens, width)
        The layer's residuals and the last layer's.
    held_out : ndarray of bool, shape (tokens,)
    device : torch.device or str
    """
    here, there = (torch.from_numpy(values).to(device).double() for values in (x, last))
    test = torch.from_numpy(held_out).to(device)
    weight = 1.0 / (there**2).mean(dim=1).clamp(min=1e-12)
    # Weighted ridge regression: both sides are centred, and their rows scaled by root weights.
    targets = there - here
    share = weight[~test] / weight[~test].sum()
    mean_x, mean_y = share @ here[~test], share @ targets[~test]
    root = share.sqrt()[:, None]
    a, b = root * (here[~test] - mean_x), root * (targets[~test] - mean_y)
    scale = max(float((a**2).sum()) / a.shape[1], 1e-12)
    ridge = Ridge.of(a, b)
    tested = weight[test] / weight[test].sum()
    size = float(tested @ (there[test] ** 2).mean(dim=1))
    centred, wanted = ridge.seen(here[test] - mean_x), targets[test] - mean_y
    errors = {
        penalty: float(tested @ ((ridge.predict(centred, penalty * scale) - wanted) ** 2).mean(1))
        for penalty in PENALTIES
    }
    best = min(errors, key=lambda penalty: errors[penalty])
    matrix = ridge.matrix(best * scale)
    bias = mean_y - mean_x @ matrix
    identity = float(tested @ (targets[test] ** 2).mean(dim=1))
    both = matrix.float().cpu().numpy(), bias.float().cpu().numpy()
    return LayerFit(*both, best, errors[best] / size, identity / size)


class Ridge(NamedTuple):
    """Ridge solutions of predicting b from a, for any penalty p: `left diag(1 / (v + p)) right`.

    One decomposition of the smaller of the two products serves all penalties.
    """

    values: torch.Tensor
    """(k,), of the decomposition; k is the smaller of the numbers of rows and of dimensions."""
    left: torch.Tensor
    """(width, k)."""
    right: torch.Tensor
    """(k, width)."""

    @classmethod
    def of(cls, a: torch.Tensor, b: torch.Tensor) -> Ridge:
        """Decompose rows `(n, width)` of what predicts, with those of what is predicted."""
        if len(a) <= a.shape[1]:
            values, vectors = torch.linalg.eigh(a @ a.T)
            return cls(values, a.T @ vectors, vectors.T @ b)
        values, vectors = torch.linalg.eigh(a.T @ a)
        return cls(values, vectors, vectors.T @ (a.T @ b))

    def seen(self, rows: torch.Tensor) -> torch.Tensor:
        """Return what all penalties' predictions need of rows `(m, width)`: `(m, k)`."""
        return rows @ self.left

    def predict(self, seen: torch.Tensor, penalty: float) -> torch.Tensor:
        """Return the predictions of rows, `(m, width)`."""
        return (seen / (self.values + penalty)) @ self.right

    def matrix(self, penalty: float) -> torch.Tensor:
        """Return the solution, `(width, width)`."""
        return (self.left / (self.values + penalty)) @ self.right


def fit_tuned_lens(
    residuals: Array32,
    owner: NDArray[np.int64],
    readout: Readout,
    file: LensFile,
    *,
    model: str,
    seed: int,
    device: torch.device | str = "cpu",
) -> pd.DataFrame:
    """Fit all translators and measure both lenses on held-out text.

    Parameters
    ----------
    residuals : ndarray of float32, shape (tokens, layers + 1, width)
    owner : ndarray of int, shape (tokens,)
        The chunk of each token.
    readout : nashlens.models.weights.Readout
    file : LensFile
        Where each translator is written once it is known.
    model : str
        The model's name, for the table and the random streams.
    seed : int
        The experiment's seed.
    device : torch.device or str
        What solves for the translators, and reads the lenses.

    Returns
    -------
    table : DataFrame
        One row per layer and held-out token, at most `KL_TOKENS` of them: `model`, `layer`,
        `chunk`, `kl_logit` and `kl_tuned` (divergence of the final distribution from each lens's,
        in nats). For the layer: `error_logit` and `error_tuned` (squared error of the last
        residual over its size, on all held-out tokens), `penalty`, `n_train` and `n_test` (numbers
        of tokens).
    """
    held_out = hold_out(owner, seed, model)
    tested = stream(seed, "tuned lens", model, "kl").permutation(np.flatnonzero(held_out))
    tested = np.sort(tested[:KL_TOKENS])
    n_layers, last = residuals.shape[1] - 1, residuals[:, -1]
    vocabulary = Vocabulary(readout, device)
    final = Final(vocabulary, last[tested])
    frames = []

    def study(layer: int) -> dict[str, Any]:
        x = residuals[:, layer]
        fit = fit_layer(x, last, held_out, device)
        if np.abs(fit.matrix).max(initial=0.0) > np.finfo(np.float16).max:
            raise DataError(f"tuned lens of {model}: layer {layer} is beyond float16; report it")
        digest = file.write(layer, fit.matrix)
        rounded = fit.matrix.astype(np.float16)
        both = (x[tested], translated(x[tested], rounded, fit.bias))
        divergences = [vocabulary.scan(vocabulary.normed(h), final=final).divergence for h in both]
        numbers = {"error": fit.error, "identity": fit.identity, "penalty": fit.penalty}
        return {"digest": digest, "bias": fit.bias} | numbers | {"divergences": divergences}

    for layer, found in enumerate(each(range(n_layers), study, "tuned lens", unit="layer")):
        if not file.holds(layer, found["digest"]):
            # Of an earlier run of the job, which ended before its disk had it: as a power cut does.
            log.warning("layer %d: damaged, so its work is done again", layer)
            found = study(layer)
        file.biases[layer] = found["bias"]
        logit, tuned = found["divergences"]
        frames.append(
            pd.DataFrame(
                {
                    "model": model,
                    "layer": layer,
                    "chunk": owner[tested],
                    "kl_logit": logit,
                    "kl_tuned": tuned,
                    "error_logit": found["identity"],
                    "error_tuned": found["error"],
                    "penalty": found["penalty"],
                    "n_train": int((~held_out).sum()),
                    "n_test": int(held_out.sum()),
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def study_tuned_lens(
    engine: Engine,
    tokenizer: Encoder,
    readout: Readout,
    path: Path | str,
    *,
    tokens: int,
    model: str,
    seed: int,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Run a model over the bundled text, fit its tuned lens and write it.

    Parameters
    ----------
    engine : Engine
    tokenizer : ChatTokenizer
    readout : nashlens.models.weights.Readout
    path : str or Path
        The lens's file, as `read_tuned_lens` opens it.
    tokens : int
        The largest number of tokens of text.
    model, seed
        As for `fit_tuned_lens`.

    Returns
    -------
    table
        As from `fit_tuned_lens`.
    record : dict
        To be written as JSON: `version`, `model`, `tokens`, `chunks`, `corpus`
        and `sha256`, the file's.
    """
    chunks = text_chunks(tokenizer, tokens)
    residuals, owner = text_residuals(engine, chunks)
    how: Any = {"model": model, "seed": seed, "device": engine.blocks.device(0)}
    with writing_tuned_lens(path, engine.n_layers, engine.width) as file:
        table = fit_tuned_lens(residuals, owner, readout, file, **how)
    sizes = {"tokens": len(owner), "chunks": len(chunks), "sha256": sha256_of(Path(path))}
    return table, {"version": VERSION, "model": model, **sizes, "corpus": CORPUS}
