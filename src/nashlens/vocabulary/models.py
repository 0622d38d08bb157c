"""Names of files that models come with."""

from __future__ import annotations

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
ADAPTER_FILES = (ADAPTER_CONFIG, ADAPTER_WEIGHTS)
"""Files of a PEFT adapter's folder that count (`nashlens.models.adapter` merges them)."""
