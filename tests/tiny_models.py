"""Tiny random models of every supported family, for tests that need no tokenizer."""

import torch
import transformers

from nashlens.models.load import LoadedModel
from nashlens.models.registry import ARCHITECTURES

TINY = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
FAMILIES = {
    "LlamaForCausalLM": ("LlamaConfig", {}),
    "MistralForCausalLM": ("MistralConfig", {"sliding_window": None}),
    "Qwen2ForCausalLM": ("Qwen2Config", {"tie_word_embeddings": True}),
    "Qwen3ForCausalLM": ("Qwen3Config", {"head_dim": 16}),
}


def tiny(name, dtype=torch.float32):
    config_name, extra = FAMILIES[name]
    config = getattr(transformers, config_name)(**TINY, **extra)
    model = getattr(transformers, name)(config).eval()
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=random) * 0.3
            # Norm weights and biases away from 1 and 0, or a forgotten one would not show.
            parameter.copy_(1 + noise if "norm" in key else noise)
    return LoadedModel(
        model=model.to(dtype),
        architecture=ARCHITECTURES[name],
        n_layers=4,
        width=32,
        vocab=61,
        dtype=dtype,
        device=torch.device("cpu"),
        name=name,
        quantization="none",
    )
