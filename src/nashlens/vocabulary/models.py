"""Names of files that models come with, and the size from which on they are compiled."""

from __future__ import annotations

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
ADAPTER_FILES = (ADAPTER_CONFIG, ADAPTER_WEIGHTS)
"""Files of a PEFT adapter's folder that count (`nashlens.models.adapter` merges them)."""

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
)
"""Files of a tokenizer, where they exist."""

SMALL_FILES = (
    "config.json",
    "generation_config.json",
    *TOKENIZER_FILES,
    "model.safetensors.index.json",
)
"""Files that count of a model's folder beside its weights, where they exist."""

COMPILED_FROM = 1_500_000_000
"""Parameters (packed ones, where they are quantised) from which on a GPU's blocks are compiled.

That takes 16 s a job, and 7 where what was compiled before is kept. A smaller model would win
milliseconds a row (docs/benchmarks.md, What a start costs).
"""
