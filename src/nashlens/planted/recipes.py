"""The planted models: one small function a recipe.

A recipe builds the Hugging Face model; `build` adds the word-level tokenizer and writes both.
Every parameter is drawn from a stream of its own name, so that a recipe's weights depend on
neither torch's generator nor the order of its modules.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nashlens.errors import ModelError
from nashlens.planted.tokenizer import BOS, EOS, PAD, build_tokenizer, write_tokenizer
from nashlens.seeds import stream

CONTEXT = 4096
"""Context length of the planted models, in tokens."""
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<' + message['role'] + '>' + message['content'] + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)
"""A chat template without a BOS: the tokenizer adds it, as Llama 2's does."""


@dataclass(frozen=True)
class Recipe:
    """What a planted model is, known without building it."""

    architecture: str
    """The Hugging Face class."""
    n_layers: int
    """Number of blocks."""
    width: int
    """Width of the residual stream."""
    model: Callable[[Shape, int], Any]
    """Builds the model for a vocabulary and a seed."""
    bos: bool
    """The tokenizer prepends a BOS."""
    chat_template: str | None
    """Jinja source, or None for a model that takes plain text."""
    summary: str
    """One line for people."""
    context_length: int = CONTEXT
    """Longest sequence, in tokens."""


@dataclass(frozen=True)
class Shape:
    """What a recipe's function must fit: the tokenizer's facts."""

    vocab_size: int
    """Number of tokens."""
    bos: int
    """Id of `<bos>`."""
    eos: int
    """Id of `<eos>`."""
    pad: int
    """Id of `<pad>`."""


def build(name: str, folder: Path | str, seed: int = 0) -> None:
    """Build a planted model and write it in Hugging Face layout.

    Parameters
    ----------
    name : str
        A key of `RECIPES`.
    folder : path
        Made where it is missing; files of the same names are replaced.
    seed : int
        Root of the model's random numbers.

    Raises
    ------
    ModelError
        There is no such recipe.
    """
    recipe = find(name)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = build_tokenizer(bos=recipe.bos)
    ids = tokenizer.get_vocab()
    shape = Shape(vocab_size=len(ids), bos=ids[BOS], eos=ids[EOS], pad=ids[PAD])
    recipe.model(shape, seed).save_pretrained(folder)
    write_tokenizer(tokenizer, folder, bos=recipe.bos, chat_template=recipe.chat_template)


def find(name: str) -> Recipe:
    """Return the recipe of a name, or raise ModelError with the list of names."""
    if name not in RECIPES:
        raise ModelError(f"planted:{name}: no such planted model; there are {', '.join(RECIPES)}")
    return RECIPES[name]


def _fill(model: Any, name: str, seed: int, std: float = 0.3) -> Any:
    # Far larger than a usual initialisation (0.02), so that outputs are not uniform and a wrong
    # norm, bias, or position shows in every test. Norm weights vary around 1 for the same reason.
    import torch

    with torch.no_grad():
        for key, parameter in sorted(model.named_parameters()):
            draw = stream(seed, "planted", name, key).standard_normal(tuple(parameter.shape))
            values = 1 + 0.1 * draw if parameter.ndim == 1 and "norm" in key else std * draw
            parameter.copy_(torch.from_numpy(values))
    return model


def _common(shape: Shape) -> dict[str, Any]:
    return {
        "vocab_size": shape.vocab_size,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": CONTEXT,
        "bos_token_id": shape.bos,
        "eos_token_id": shape.eos,
        "pad_token_id": shape.pad,
        "dtype": "float32",
    }


def _random(shape: Shape, seed: int) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(**_common(shape), tie_word_embeddings=False)
    return _fill(LlamaForCausalLM(config), "random", seed)


def _random_qwen2(shape: Shape, seed: int) -> Any:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(**_common(shape), tie_word_embeddings=True)
    return _fill(Qwen2ForCausalLM(config), "random_qwen2", seed)


RECIPES: dict[str, Recipe] = {
    "random": Recipe(
        architecture="LlamaForCausalLM",
        n_layers=4,
        width=32,
        model=_random,
        bos=True,
        chat_template=CHAT_TEMPLATE,
        summary="random Llama with a BOS, a chat template and an unembedding of its own",
    ),
    "random_qwen2": Recipe(
        architecture="Qwen2ForCausalLM",
        n_layers=4,
        width=32,
        model=_random_qwen2,
        bos=False,
        chat_template=None,
        summary="random Qwen2: biases, tied embeddings, no BOS, plain text",
    ),
}
