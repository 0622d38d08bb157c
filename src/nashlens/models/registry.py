"""Supported architectures: a table of component names and variants, and nothing else.

The engine walks a model by this table, so that a new architecture whose blocks use the variants
named here is one more entry. Names are attribute paths from the Hugging Face causal LM; a
parameter's name in its safetensors file is the path with ``.weight`` (or ``.bias``) after it.
What the table does not cover is refused (`nashlens.models.support`), never ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Architecture:
    """Where one architecture keeps its parts, and which variants it uses.

    A block computes ``a = o(attention(q, k, v of input_norm(x)))``, then

    - sequential: ``h = x + attention_out_norm(a)``, ``h + mlp_out_norm(mlp(mlp_norm(h)))``
    - parallel: ``x + a + mlp(mlp_norm(x))``

    A part that is None is the identity. Logits are ``softcap(unembed(norm(h)))``. An embedding
    that is scaled (Gemma's) is so by its own module.
    """

    name: str
    """The Hugging Face class, as in config.json's `architectures`."""
    model_type: str
    """Its `model_type` in config.json."""
    embed: str = "model.embed_tokens"
    """Token embedding, from the causal LM."""
    positions: str | None = None
    """Embedding of learned positions, added to the tokens'; None where positions are rotary."""
    embedded: str | None = None
    """Module whose output is the residual stream before block 1, where it is not `embed`."""
    layers: str = "model.layers"
    """The list of blocks, from the causal LM."""
    norm: str = "model.norm"
    """The final norm, from the causal LM."""
    norm_kind: Literal["rms", "rms_plus_one", "layer"] = "rms"
    """The final norm multiplies by `weight`, by `1 + weight`, or is a layer norm with bias."""
    norm_eps: str = "rms_norm_eps"
    """The config key of its epsilon."""
    unembed: str = "lm_head"
    """The unembedding, from the causal LM; without a bias, perhaps tied to `embed`."""
    stored_unembed: str | None = None
    """Its name in safetensors files, where that is another."""
    logit_softcap: str | None = None
    """The config key of the logits' soft-cap."""
    rotary: str | None = "model.rotary_emb"
    """Module that maps `(hidden, position_ids)` to `(cos, sin)`, from the causal LM."""
    rotary_by_type: bool = False
    """`rotary` takes the block's layer type as well: each type turns at its own rate."""
    rope_types: tuple[str, ...] = ("default", "linear", "llama3", "yarn", "longrope")
    """Kinds of rotary scaling that are right here."""
    partial_rotary: tuple[str, ...] = ()
    """Config keys of the share of each head that is rotated; none where all of it is."""
    input_norm: str = "input_layernorm"
    """Norm before attention, from the block."""
    attention: str = "self_attn"
    """The attention module, from the block; its `scaling` is what scores are multiplied by."""
    attention_softcap: str | None = None
    """The config key of the scores' soft-cap."""
    windows: Literal["none", "every_layer", "layer_types"] = "none"
    """Which blocks see only the last `sliding_window` tokens: those of type sliding_attention."""
    plain_heads: bool = False
    """As many key as query heads, each `hidden_size / num_attention_heads` wide, whatever the
    config says of `num_key_value_heads` and `head_dim`."""
    qkv: Literal["split", "fused", "interleaved"] = "split"
    """Three projections; one, giving all queries, keys, values; or one, giving them by head."""
    fused: str | None = None
    """The one projection, from the block."""
    q: str | None = "self_attn.q_proj"
    """Query projection, from the block."""
    k: str | None = "self_attn.k_proj"
    """Key projection, from the block."""
    v: str | None = "self_attn.v_proj"
    """Value projection, from the block."""
    o: str = "self_attn.o_proj"
    """Output projection of attention, from the block."""
    q_norm: str | None = None
    """Norm of each query head before the rotation, from the block."""
    k_norm: str | None = None
    """Norm of each key head before the rotation, from the block."""
    attention_out_norm: str | None = None
    """Norm of attention's output, from the block."""
    mlp_norm: str = "post_attention_layernorm"
    """Norm before the MLP, from the block."""
    mlp: str = "mlp"
    """The MLP, from the block."""
    mlp_out_norm: str | None = None
    """Norm of the MLP's output, from the block."""
    parallel: str | None = None
    """The config key that says whether attention and MLP run side by side; None: they never do."""
    adopted: tuple[str, ...] = ()
    """Modules of model repositories (config.json's `auto_map`) that transformers took over."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """What transformers takes for a key that config.json lacks, for keys that are read here."""

    def value(self, config: Mapping[str, Any], key: str) -> Any:
        """Return a config.json's value of a key, by the architecture's default where it lacks it.

        Parameters
        ----------
        config : mapping
        key : str
            In the common spelling, such as `num_hidden_layers`.
        """
        found = config_value(config, key)
        return self.defaults.get(key) if found is None and key not in config else found


_GEMMA: dict[str, Any] = {
    "norm_kind": "rms_plus_one",
    "logit_softcap": "final_logit_softcapping",
    "windows": "layer_types",
    "rope_types": ("default", "linear", "llama3", "yarn"),
    "attention_out_norm": "post_attention_layernorm",
    "mlp_norm": "pre_feedforward_layernorm",
    "mlp_out_norm": "post_feedforward_layernorm",
}
_RMS = {"rms_norm_eps": 1e-6, "tie_word_embeddings": False}
_QWEN = _RMS | {"use_sliding_window": False, "sliding_window": 4096}
_TIED = {"rms_norm_eps": 1e-6, "tie_word_embeddings": True, "sliding_window": 4096}

ARCHITECTURES: dict[str, Architecture] = {
    a.name: a
    for a in (
        Architecture("LlamaForCausalLM", "llama", defaults=_RMS),
        Architecture(
            "MistralForCausalLM",
            "mistral",
            windows="every_layer",
            defaults=_RMS | {"sliding_window": 4096},
        ),
        Architecture("Qwen2ForCausalLM", "qwen2", windows="layer_types", defaults=_QWEN),
        Architecture(
            "Qwen3ForCausalLM",
            "qwen3",
            windows="layer_types",
            q_norm="self_attn.q_norm",
            k_norm="self_attn.k_norm",
            defaults=_QWEN,
        ),
        Architecture(
            "Gemma2ForCausalLM",
            "gemma2",
            attention_softcap="attn_logit_softcapping",
            defaults=_TIED | {"final_logit_softcapping": 30.0},
            **_GEMMA,
        ),
        Architecture(
            "Gemma3ForCausalLM",
            "gemma3_text",
            rotary_by_type=True,
            q_norm="self_attn.q_norm",
            k_norm="self_attn.k_norm",
            defaults=_TIED,
            **_GEMMA,
        ),
        Architecture(
            "Phi3ForCausalLM",
            "phi3",
            windows="every_layer",
            # transformers reads the older names su and yarn as longrope.
            rope_types=("default", "longrope", "su", "yarn"),
            partial_rotary=("partial_rotary_factor",),
            qkv="fused",
            fused="self_attn.qkv_proj",
            q=None,
            k=None,
            v=None,
            adopted=("configuration_phi3", "modeling_phi3"),
            defaults=_RMS | {"rms_norm_eps": 1e-5, "sliding_window": None},
        ),
        Architecture(
            "GPTNeoXForCausalLM",
            "gpt_neox",
            embed="gpt_neox.embed_in",
            layers="gpt_neox.layers",
            norm="gpt_neox.final_layer_norm",
            norm_kind="layer",
            norm_eps="layer_norm_eps",
            stored_unembed="embed_out",
            rotary="gpt_neox.rotary_emb",
            rope_types=("default", "linear"),
            partial_rotary=("rotary_pct", "partial_rotary_factor"),
            attention="attention",
            plain_heads=True,
            qkv="interleaved",
            fused="attention.query_key_value",
            q=None,
            k=None,
            v=None,
            o="attention.dense",
            parallel="use_parallel_residual",
            defaults={"layer_norm_eps": 1e-5, "tie_word_embeddings": False},
        ),
        Architecture(
            "GPT2LMHeadModel",
            "gpt2",
            embed="transformer.wte",
            positions="transformer.wpe",
            embedded="transformer.drop",
            layers="transformer.h",
            norm="transformer.ln_f",
            norm_kind="layer",
            norm_eps="layer_norm_epsilon",
            rotary=None,
            rope_types=(),
            input_norm="ln_1",
            attention="attn",
            plain_heads=True,
            qkv="fused",
            fused="attn.c_attn",
            q=None,
            k=None,
            v=None,
            o="attn.c_proj",
            mlp_norm="ln_2",
            defaults={"layer_norm_epsilon": 1e-5, "tie_word_embeddings": True},
        ),
    )
}

GGUF_ARCHITECTURES: dict[str, str] = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}
"""llama.cpp's `general.architecture` to the Hugging Face class.

Only those that transformers reads completely: of Gemma's GGUF files it drops the soft-caps and the
attention scale, of Phi-3's the window and the rotary factors, of GPT-2's the context length.
"""

_OTHER_SPELLINGS = {
    "num_hidden_layers": "n_layer",
    "hidden_size": "n_embd",
    "num_attention_heads": "n_head",
    "max_position_embeddings": "n_positions",
}


def config_value(config: Mapping[str, Any], key: str) -> Any:
    """Return config.json's value of a key under either of its spellings, None where it has none.

    Parameters
    ----------
    config : mapping
        The parsed config.json.
    key : str
        In the common spelling, such as `num_hidden_layers` (GPT-2 says `n_layer`).
    """
    return config.get(key, config.get(_OTHER_SPELLINGS.get(key, key)))


def supported() -> str:
    """Return the supported architectures as text, for messages."""
    return ", ".join(ARCHITECTURES)
