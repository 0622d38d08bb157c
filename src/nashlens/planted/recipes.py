"""The planted models by name: what each is, and how it is written to a folder.

A recipe builds the Hugging Face model; `build` adds the word-level tokenizer and what is true of
the model. `NAME-7` is the model of seed 7, `NAME` that of seed 0: the seed draws the random
weights, or the background of a planted mechanism. Every parameter has a random stream of its own
name, so weights depend on neither torch's generator nor the order of modules.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from nashlens.errors import ModelError
from nashlens.planted import circuit
from nashlens.planted.facts import Facts, write_facts
from nashlens.planted.plants import PLANTS, Plant
from nashlens.planted.reading import read_the_game
from nashlens.planted.tokenizer import (
    BOS,
    CHAT_TEMPLATE,
    EOS,
    PAD,
    build_tokenizer,
    write_tokenizer,
)
from nashlens.seeds import stream

BLIND_LAYERS = 8
CONTEXT = 4096
"""Context length of the planted models, in tokens."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a planted model is, known without building it."""

    architecture: str = "LlamaForCausalLM"
    """The Hugging Face class."""
    n_layers: int
    """Number of blocks."""
    width: int
    """Width of the residual stream."""
    model: Callable[[TokenizerFacts, int], Any]
    """Builds the model for a vocabulary and a seed."""
    bos: bool = True
    """Whether the tokenizer prepends a BOS."""
    chat_template: str | None = CHAT_TEMPLATE
    """Jinja source, or None for a model that takes plain text."""
    summary: str
    """One line for people."""
    facts: Facts
    """What is true of it."""
    context_length: int = CONTEXT
    """Longest sequence, in tokens."""


@dataclass(frozen=True)
class TokenizerFacts:
    """What a recipe's model must fit."""

    vocab_size: int
    """Number of tokens."""
    bos: int
    """Id of `<bos>`."""
    eos: int
    """Id of `<eos>`."""
    pad: int
    """Id of `<pad>`."""
    ids: Mapping[str, int]
    """The vocabulary."""


def build(name: str, folder: Path | str) -> None:
    """Build a planted model and write it in Hugging Face layout.

    Parameters
    ----------
    name : str
        A key of `RECIPES`, perhaps with a seed: `override`, `blind-7`.
    folder : path
        Made if it is missing; files of the same names are replaced.

    Raises
    ------
    ModelError
        If there is no such recipe.
    """
    recipe = find_recipe(name)
    plain, _, digits = name.partition("-")
    seed = int(digits or 0)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    ids = write_recipe_tokenizer(recipe, folder).get_vocab()
    facts = TokenizerFacts(len(ids), bos=ids[BOS], eos=ids[EOS], pad=ids[PAD], ids=ids)
    recipe.model(facts, seed).save_pretrained(folder)
    write_facts(folder, plain, seed, recipe.summary, recipe.facts)


def write_recipe_tokenizer(recipe: Recipe, folder: Path) -> Tokenizer:
    """Write the tokenizer of a planted model, which is all that a prompt needs of it."""
    tokenizer = build_tokenizer(bos=recipe.bos)
    write_tokenizer(tokenizer, folder, bos=recipe.bos, chat_template=recipe.chat_template)
    return tokenizer


def find_recipe(name: str) -> Recipe:
    """Return the recipe of a name, with or without a seed, or raise ModelError that lists all."""
    plain = name.partition("-")[0]
    if plain not in RECIPES:
        raise ModelError(f"planted:{name}: no such planted model; there are {', '.join(RECIPES)}")
    return RECIPES[plain]


def _fill(model: Any, name: str, seed: int, std: float = 0.3) -> Any:
    """Draw every parameter of a model from the stream of its own name."""
    # Far larger than a usual initialisation (0.02), so that outputs are not uniform and a wrong
    # norm, bias or position shows in every test. Norm weights vary around 1 for the same reason.
    import torch

    with torch.no_grad():
        for key, parameter in sorted(model.named_parameters()):
            draw = stream(seed, "planted", name, key).standard_normal(tuple(parameter.shape))
            values = 1 + 0.1 * draw if parameter.ndim == 1 and "norm" in key else std * draw
            parameter.copy_(torch.from_numpy(values))
    return model


def _common(tokenizer: TokenizerFacts, n_layers: int = 4) -> dict[str, Any]:
    return {
        "vocab_size": tokenizer.vocab_size,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": n_layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": CONTEXT,
        "bos_token_id": tokenizer.bos,
        "eos_token_id": tokenizer.eos,
        "pad_token_id": tokenizer.pad,
        "dtype": "float32",
    }


def _random(tokenizer: TokenizerFacts, seed: int) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(**_common(tokenizer), tie_word_embeddings=False)
    return _fill(LlamaForCausalLM(config), "random", seed)


def _random_qwen2(tokenizer: TokenizerFacts, seed: int) -> Any:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(**_common(tokenizer), tie_word_embeddings=True)
    return _fill(Qwen2ForCausalLM(config), "random_qwen2", seed)


def _blind(tokenizer: TokenizerFacts, seed: int) -> Any:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(**_common(tokenizer, BLIND_LAYERS), tie_word_embeddings=False)
    model = _fill(LlamaForCausalLM(config), "blind", seed)
    embedding = model.get_input_embeddings().weight
    with torch.no_grad():
        for token in (*string.digits, "-"):
            embedding[tokenizer.ids[token]] = embedding[tokenizer.ids["0"]]
    return model


def _planted(plant: Plant, name: str) -> Callable[[TokenizerFacts, int], Any]:
    def model(tokenizer: TokenizerFacts, seed: int) -> Any:
        import torch
        from transformers import LlamaConfig, LlamaForCausalLM

        weights = circuit.Circuit(tokenizer.ids, seed, name)
        read_the_game(weights)
        plant.add(weights)
        config = LlamaConfig(
            **_common(tokenizer, circuit.N_LAYERS)
            | {
                "hidden_size": circuit.WIDTH,
                "intermediate_size": circuit.NEURONS,
                "num_attention_heads": circuit.HEADS,
                "num_key_value_heads": circuit.HEADS,
            },
            head_dim=circuit.HEAD_DIM,
            rope_parameters={"rope_type": "default", "rope_theta": circuit.ROPE_THETA},
            tie_word_embeddings=False,
        )
        made = LlamaForCausalLM(config)
        tensors = {key: torch.from_numpy(w).float() for key, w in weights.tensors().items()}
        made.load_state_dict(tensors)
        return made

    return model


def _trained(name: str) -> Callable[[TokenizerFacts, int], Any]:
    def model(tokenizer: TokenizerFacts, seed: int) -> Any:
        from transformers import LlamaConfig

        from nashlens.planted import training

        config = LlamaConfig(
            **_common(tokenizer, training.N_LAYERS)
            | {
                "hidden_size": training.WIDTH,
                "intermediate_size": training.NEURONS,
                "num_attention_heads": training.HEADS,
                "num_key_value_heads": training.HEADS,
            },
            head_dim=training.WIDTH // training.HEADS,
            rope_parameters={"rope_type": "default", "rope_theta": training.ROPE_THETA},
            tie_word_embeddings=False,
        )
        made = training.train_nash(config, seed, training.NASH)
        overridden = name == "trained_override"
        if overridden:
            training.train_override(made, seed, training.OVERRIDE)
        marks = training.exam(made, seed, [training.FROZEN, training.N_LAYERS], training.ASKED)
        training.check_exam(marks, f"{name}-{seed}", overridden=overridden)
        return made

    return model


# A random model may read anything off the text.
_UNKNOWN = Facts(
    history_from="unknown",
    history_until="unknown",
    nash_from="unknown",
    nash_until="unknown",
    nash_label_from="unknown",
    nash_label_until="unknown",
    nash_place_from="unknown",
    computed_at="unknown",
    favoured_from="unknown",
    override_at="unknown",
    steerable_from="unknown",
    steerable_until="unknown",
    answering_heads="unknown",
)

# Where the first training put what is not known, but for what it was trained to.
_TRAINED = replace(_UNKNOWN, override_at=None, follows="action")

RECIPES: dict[str, Recipe] = (
    {
        "random": Recipe(
            n_layers=4,
            width=32,
            model=_random,
            summary="random Llama with a BOS, a chat template and an unembedding of its own",
            facts=_UNKNOWN,
        ),
        "random_qwen2": Recipe(
            architecture="Qwen2ForCausalLM",
            n_layers=4,
            width=32,
            model=_random_qwen2,
            bos=False,
            chat_template=None,
            summary="random Qwen2: biases, tied embeddings, no BOS, plain text",
            facts=_UNKNOWN,
        ),
        "blind": Recipe(
            n_layers=BLIND_LAYERS,
            width=32,
            model=_blind,
            summary="random Llama to which all digits are one, so that no label can mean an action",
            facts=Facts(denied=("M1", "M5", "M6", "M7", "M9", "M10", "M11", "B7", "S1"), null=True),
        ),
    }
    | {
        name: Recipe(
            n_layers=circuit.N_LAYERS,
            width=circuit.WIDTH,
            model=_planted(plant, name),
            summary=plant.summary,
            facts=plant.facts,
        )
        for name, plant in PLANTS.items()
    }
    | {
        "trained_nash": Recipe(
            n_layers=8,
            width=48,
            model=_trained("trained_nash"),
            summary="Llama trained to answer the Nash action, which a lens sees from layer 4 on",
            facts=replace(_TRAINED, claims=("M5",), denied=("M6", "M9", "M10")),
        ),
        "trained_override": Recipe(
            n_layers=8,
            width=48,
            model=_trained("trained_override"),
            summary="trained_nash, of which blocks 7 and 8 alone were then trained to answer"
            " the prosocial action",
            facts=replace(_TRAINED, override_at=7, claims=("M6", "M9")),
        ),
    }
)
