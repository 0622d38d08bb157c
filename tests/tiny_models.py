"""Tiny random models of every supported family, for tests that need no tokenizer.

Windows, soft-caps and the length at which longrope changes are far below the tests' sequence
lengths and scores, so that leaving one out shows.
"""

import torch
import transformers

from nashlens.models.loaded import LoadedModel

TINY = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
MIXED = ["sliding_attention", "full_attention", "sliding_attention", "full_attention"]
GEMMA = {
    "head_dim": 16,
    "query_pre_attn_scalar": 10,
    "final_logit_softcapping": 3.0,
    "sliding_window": 5,
}
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "partial_rotary_factor": 0.5,
    "short_factor": [1.0, 1.3],
    "long_factor": [2.0, 5.0],
}
NEOX = {
    "rope_parameters": {"rope_type": "default", "rope_theta": 100.0, "partial_rotary_factor": 0.5}
}
FAMILIES = {
    "LlamaForCausalLM": ("LlamaConfig", {}),
    "MistralForCausalLM": ("MistralConfig", {"sliding_window": 5}),
    "Qwen2ForCausalLM": (
        "Qwen2Config",
        {
            "tie_word_embeddings": True,
            "use_sliding_window": True,
            "sliding_window": 4,
            "max_window_layers": 2,
        },
    ),
    "Qwen3ForCausalLM": ("Qwen3Config", {"head_dim": 16}),
    "Gemma2ForCausalLM": ("Gemma2Config", {**GEMMA, "attn_logit_softcapping": 2.0}),
    "Gemma3ForCausalLM": ("Gemma3TextConfig", {**GEMMA, "layer_types": MIXED}),
    "Phi3ForCausalLM": (
        "Phi3Config",
        {
            "sliding_window": 6,
            "rope_parameters": LONGROPE,
            "original_max_position_embeddings": 14,
        },
    ),
    "GPTNeoXForCausalLM": ("GPTNeoXConfig", NEOX),
    "GPTNeoXForCausalLM, sequential": (
        "GPTNeoXConfig",
        {**NEOX, "use_parallel_residual": False, "attention_bias": False},
    ),
    "GPT2LMHeadModel": ("GPT2Config", {"scale_attn_by_inverse_layer_idx": True}),
}


def architecture(family):
    """The Hugging Face class of a family."""
    return family.split(",")[0]


def config_of(family, **changes):
    """The configuration of a family, with some values changed."""
    config_name, extra = FAMILIES[family]
    return getattr(transformers, config_name)(**(TINY | extra | changes))


def tiny(family, dtype=torch.float32, **changes):
    """A random model; configurations that differ in no shape share their weights."""
    name = architecture(family)
    config = config_of(family, architectures=[name], **changes)
    config._attn_implementation = "eager"
    model = getattr(transformers, name)(config).eval()
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=random) * 0.3
            # Norm weights and biases away from 1 and 0, or a forgotten one would not show.
            parameter.copy_(1 + noise if "norm" in key or "ln_" in key else noise)
    return LoadedModel.from_modules(model.to(dtype), name=name, dtype=dtype)
