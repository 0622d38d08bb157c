"""Direct logit attribution: what each component of a model adds to the difference of two logits.

The last residual is a sum: the embedding, and what every block's attention and MLP added to it. The
final norm is linear once its scale is taken as given (*frozen* at the value that it has in this
prompt), and so is the unembedding. So the difference of two logits is a sum over components as well
(Elhage et al. 2021, "A mathematical framework for transformer circuits"; for attention heads, Wang
et al. 2022, arXiv:2211.00593). It says who *writes* the answer at the last token, and nothing about
who makes them write it.

Where an attention's or MLP's output passes a norm of its own before it is added, its scale is
frozen too. A soft-cap on the logits is left out: the sum is the difference before it, of which the
cap is a monotone function for each logit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from nashlens.chunks import each
from nashlens.engine.recording import Place, Recorded, record
from nashlens.errors import DataError
from nashlens.memory import Batch
from nashlens.models.weights import FinalNorm

if TYPE_CHECKING:
    from nashlens.engine.block import TransformerBlock
    from nashlens.engine.core import Engine

_PROMPTS_AT_ONCE = 32
_BATCH = Batch("prompts of an attribution", _PROMPTS_AT_ONCE)


class Attribution(NamedTuple):
    """Parts of the difference of two logits at the last token of n sequences, in logits.

    `embedding`, `attention` and `mlp`, summed over layers, and `bias` add up to `total`; `heads`,
    summed over heads, and `attention_bias` add up to `attention`.
    """

    total: np.ndarray
    """`(n,)` the difference, before a soft-cap."""
    embedding: np.ndarray
    """`(n,)`."""
    attention: np.ndarray
    """`(n, layers)` what each block's attention adds."""
    heads: np.ndarray
    """`(n, layers, heads)` what each head adds to that."""
    attention_bias: np.ndarray
    """`(n, layers)` what the output projection's bias adds, and that of a norm after it."""
    mlp: np.ndarray
    """`(n, layers)` what each block's MLP adds."""
    bias: np.ndarray
    """`(n,)` what the final norm's bias adds."""


def written_places(engine: Engine) -> set[Place]:
    """Return what has to be recorded for an attribution, and every MLP's output besides."""
    layers = range(1, engine.n_layers + 1)
    residuals = {("residual", layer) for layer in (0, *layers)}
    return residuals | {(kind, layer) for kind in ("head", "mlp") for layer in layers}


@torch.inference_mode()
def attribute(
    engine: Engine,
    sequences: Sequence[Sequence[int]],
    differences: np.ndarray,
    norm: FinalNorm,
    recorded: Recorded | None = None,
) -> Attribution:
    """Attribute the difference of two logits after each sequence to the model's components.

    Parameters
    ----------
    engine : Engine
    sequences : sequence of sequences of int
        Token ids up to the token after which logits are compared.
    differences : numpy.ndarray
        `(n, width)` for each sequence the unembedding row of one token minus that of the other.
    norm : FinalNorm
        The model's (`nashlens.models.weights.WeightReader.final_norm`).
    recorded : Recorded, optional
        The `written_places` of these sequences at their last tokens, where they are known.

    Returns
    -------
    Attribution
        float64.

    Raises
    ------
    DataError
        If there are not as many differences as sequences.
    """
    n, width = len(sequences), engine.width
    if np.shape(differences) != (n, width):
        raise DataError(
            f"differences of shape {np.shape(differences)} for {n} sequences; give one row of"
            f" {width} numbers for each"
        )
    if recorded is None:
        last = [[len(ids) - 1] for ids in sequences]
        recorded = record(engine, sequences, last, written_places(engine))
    at = torch.tensor([int(rows[-1]) for rows in recorded.rows])
    layers = range(engine.n_layers + 1)
    residuals = np.stack([_rows(recorded, "residual", k, at)[0] for k in layers], axis=1)
    differences = np.asarray(differences, dtype=np.float64)
    towards = _towards(residuals[:, -1], differences, norm)
    # What the residual after each layer would give by itself: blocks are the steps between them.
    sums = np.einsum("nlw,nw->nl", residuals, towards)
    bias = np.zeros(n) if norm.bias is None else differences @ np.asarray(norm.bias, np.float64)
    outputs = [
        torch.from_numpy(_rows(recorded, "head", k, at)).float().transpose(0, 1) for k in layers[1:]
    ]

    def parts(start: int) -> tuple[np.ndarray, np.ndarray]:
        some = slice(start, start + _PROMPTS_AT_ONCE)
        found = []
        for layer, values in enumerate(outputs):
            shares = [blocks[layer] for blocks in engine.blocks.shards]
            here = values[some], towards[some]
            found.append(_in_batches(shares, *here))
        attention, heads = zip(*found, strict=True)
        return np.stack(attention, axis=1), np.stack(heads, axis=1)

    empty = np.empty((0, engine.n_layers)), np.empty((0, engine.n_layers, engine.n_heads))
    found = each(range(0, n, _PROMPTS_AT_ONCE), parts, "attribution", shown=False)
    attention, heads = (np.concatenate(some) for some in zip(empty, *found, strict=True))
    return Attribution(
        total=sums[:, -1] + bias,
        embedding=sums[:, 0],
        attention=attention,
        heads=heads,
        attention_bias=attention - heads.sum(axis=-1),
        mlp=np.diff(sums, axis=1) - attention,
        bias=bias,
    )


def _rows(recorded: Recorded, kind: str, layer: int, at: torch.Tensor) -> np.ndarray:
    """Return recorded values of some tokens, (parts, n, size) float64."""
    values = recorded.values[kind, layer]
    return np.asarray(values[:, at.to(values.device)].double().cpu().numpy())


def _towards(last: np.ndarray, differences: np.ndarray, norm: FinalNorm) -> np.ndarray:
    """Return the directions, (n, width), whose products with parts are their parts in logits."""
    x = last - last.mean(axis=1, keepdims=True) if norm.centred else last
    scale = 1.0 / np.sqrt((x * x).mean(axis=1, keepdims=True) + norm.eps)
    towards = differences * np.asarray(norm.weight, dtype=np.float64) * scale
    # Each part would be centred; a product with a centred direction is the same.
    return towards - towards.mean(axis=1, keepdims=True) if norm.centred else towards


def _in_batches(
    shares: Sequence[TransformerBlock], outputs: torch.Tensor, towards: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return what `_attention` does, of as many prompts at once as fit."""
    found = _BATCH.run(len(outputs), lambda some: _attention(shares, outputs[some], towards[some]))
    attention, heads = zip(*found, strict=True)
    return np.concatenate(attention), np.concatenate(heads)


def _attention(
    shares: Sequence[TransformerBlock], outputs: torch.Tensor, towards: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return what attention adds, (n,), and its heads, (n, heads); `outputs` are (n, heads, head).

    `shares` are the parts of the block on the devices that share its heads.
    """
    n, width = towards.shape
    whole, parts, first = np.zeros((n, width)), [], 0
    for block in shares:
        mine = outputs[:, first : first + block.heads]
        first += block.heads
        whole += _projected(block, mine.flatten(1))
        nothing = _projected(block, torch.zeros_like(mine[:1]).flatten(1))
        # Each head by itself, the others being zero: (n * heads, heads * head).
        alone = mine[:, :, None] * torch.eye(block.heads)[:, :, None]
        each = _projected(block, alone.flatten(2).flatten(0, 1)) - nothing
        parts.append(each.reshape(n, block.heads, width))
    normed = whole
    norm = shares[0].attention_out_norm
    if not isinstance(norm, torch.nn.Identity):
        normed, factor = _frozen(norm, whole)
        parts = [part * factor[:, None] for part in parts]
    heads = [np.einsum("nhw,nw->nh", part, towards) for part in parts]
    return np.einsum("nw,nw->n", normed, towards), np.concatenate(heads, axis=1)


def _projected(block: TransformerBlock, outputs: torch.Tensor) -> np.ndarray:
    """Return the output projection of heads' outputs, (n, width) float64."""
    parameter = next(block.o.parameters())
    dtype = parameter.dtype if parameter.is_floating_point() else torch.bfloat16
    result = block.o(outputs.to(parameter.device, dtype))
    return np.asarray(result.double().cpu().numpy())


def _frozen(norm: torch.nn.Module, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return an RMS norm's outputs and the factors, (n, width), by which it multiplies each x."""
    device = next(norm.parameters()).device
    dtype = next(norm.parameters()).dtype

    def run(values: np.ndarray) -> np.ndarray:
        given = torch.from_numpy(values).to(device, dtype)
        return np.asarray(norm(given).double().cpu().numpy())

    result = run(x)
    # The norm of ones is the weight, but for a factor; the row's scale is fitted to its outputs.
    weight = run(np.ones((1, x.shape[1])))
    plain = x * weight
    scale = (result * plain).sum(axis=1, keepdims=True) / (plain * plain).sum(axis=1, keepdims=True)
    return result, scale * weight
