"""A model that was loaded, by whatever way: what the engine asks of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nashlens.models.registry import ARCHITECTURES, Architecture

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class LoadedModel:
    """A causal language model ready for inference."""

    model: Any
    """The causal LM, of transformers or of `nashlens.models.native`, in eval mode, without
    gradients; None where it is in `shards`."""
    architecture: Architecture
    """Where its parts are."""
    n_layers: int
    """Number of blocks."""
    width: int
    """Width of the residual stream."""
    vocab: int
    """Rows of the unembedding."""
    dtype: torch.dtype
    """Type of the residual stream, and of all weights that are not quantised."""
    device: torch.device
    """Where token ids go in (the embedding's device)."""
    name: str
    """The folder's name."""
    quantization: str
    """none, int8 or nf4."""
    shards: tuple[Any, ...] = ()
    """With tensor parallelism each device's slice of the model (`nashlens.models.sharded`)."""

    @classmethod
    def from_modules(
        cls,
        model: Any,
        *,
        name: str,
        dtype: torch.dtype,
        quantization: str = "none",
        shards: tuple[Any, ...] = (),
    ) -> LoadedModel:
        """Describe a model by its configuration and its embeddings.

        Parameters
        ----------
        model : module or None
            The causal LM; None where it is in `shards`.
        name, dtype, quantization, shards
            As the fields.
        """
        first = shards[0] if model is None else model
        names = ARCHITECTURES[first.config.architectures[0]]
        return cls(
            model=model,
            architecture=names,
            n_layers=first.config.num_hidden_layers,
            width=first.config.hidden_size,
            vocab=first.get_submodule(names.unembed).weight.shape[0],
            dtype=dtype,
            device=first.get_submodule(names.embed).weight.device,
            name=name,
            quantization=quantization,
            shards=shards,
        )
