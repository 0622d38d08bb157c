"""What of a config.json the engine covers; all else is refused before anything is loaded.

transformers ignores many keys that it does not know, and the engine reads only those that the
table of architectures names. So a switch that would change the computation is refused unless the
table covers it with that value: a model that computes something else is never silently wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from nashlens.errors import printable
from nashlens.models.registry import ARCHITECTURES, Architecture, config_value, supported

_LAYER_TYPES = ("full_attention", "sliding_attention")  # without and with a window


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _whole(value: Any) -> bool:
    return isinstance(value, int) and _number(value)


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


# Switches that the engine covers in some architecture or through the model's own modules.
_COVERED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "attn_logit_softcapping": (_number, "a positive number"),
    "final_logit_softcapping": (_number, "a positive number"),
    "sliding_window": (_whole, "a positive whole number"),
    "query_pre_attn_scalar": (_number, "a positive number"),
    "use_sliding_window": (_flag, "true or false"),
    "use_parallel_residual": (_flag, "true or false"),
    "tie_word_embeddings": (_flag, "true or false"),
    "scale_attn_weights": (_flag, "true or false"),
    "scale_attn_by_inverse_layer_idx": (_flag, "true or false"),
    "attention_bias": (_flag, "true or false"),
    "mlp_bias": (_flag, "true or false"),
}

# Features of other architectures and of forks of these; off where the key has one of the values.
_OFF: dict[str, tuple[Any, ...]] = {
    "add_cross_attention": (False,),
    "alibi": (False,),
    "altup_num_inputs": (0, 1),
    "attention_chunk_size": (0,),
    "attention_multiplier": (),
    "attention_sink_size": (0,),
    "clip_qkv": (),
    "dual_chunk_attention_config": (),
    "embedding_multiplier": (1,),
    "hidden_size_per_layer_input": (0,),
    "is_causal": (True,),
    "is_encoder_decoder": (False,),
    "kv_lora_rank": (0,),
    "logit_scale": (1,),
    "logits_scaling": (1,),
    "moe_intermediate_size": (0,),
    "n_routed_experts": (0,),
    "num_experts": (0, 1),
    "num_kv_shared_layers": (0,),
    "num_local_experts": (0, 1),
    "parallel_attn": (False,),
    "qk_layernorm": (False,),
    "qk_norm": (False,),
    "residual_multiplier": (1,),
    "text_config": (),
    "use_alibi": (False,),
    "use_bidirectional_attention": (False,),
    "use_qk_norm": (False,),
    "vision_config": (),
}


def config_problems(config: Mapping[str, Any]) -> list[str]:
    """Say why a model with this config.json cannot be used.

    Parameters
    ----------
    config : mapping
        The parsed config.json.

    Returns
    -------
    list of str
        One line a problem; empty where the model is supported.
    """
    names = config.get("architectures")
    if not isinstance(names, list) or len(names) != 1 or not isinstance(names[0], str):
        return [f"architectures is {names!r}: one of {supported()} is needed"]
    name = names[0]
    if name not in ARCHITECTURES:
        return [f"architecture {printable(str(name))} is not supported: use one of {supported()}"]
    architecture = ARCHITECTURES[name]
    problems = []
    kind = config.get("model_type", architecture.model_type)
    if kind != architecture.model_type:
        # transformers builds the model by its type, the engine walks it by its architecture.
        problems.append(f"model_type is {kind!r}, and {name} has {architecture.model_type!r}")
    if not _known_code(architecture, config.get("auto_map")):
        problems.append("config.json has auto_map (code of its own), which is never run: remove it")
    if config.get("quantization_config"):
        problems.append(
            "the weights are stored quantised: give the full-precision model and set quantization"
        )
    problems += _switch_problems(architecture, config)
    problems += _window_problems(architecture, config)
    problems += _rotary_problems(architecture, config)
    return problems


def _known_code(architecture: Architecture, found: Any) -> bool:
    """Say whether a config names no code of its own, or only what transformers took over."""
    named = found.values() if isinstance(found, dict) else [found] if found else []
    return all(str(name).split(".")[0] in architecture.adopted for name in named)


def _unused(architecture: Architecture) -> Iterator[str]:
    """Yield the switches that work in other architectures and are nothing in this one."""
    a = architecture
    if a.attention_softcap is None:
        yield "attn_logit_softcapping"
    if a.logit_softcap is None:
        yield "final_logit_softcapping"
    if a.parallel is None:
        yield "use_parallel_residual"
    if a.windows == "none":
        yield "sliding_window"


def _switch_problems(architecture: Architecture, config: Mapping[str, Any]) -> list[str]:
    name, problems = architecture.name, []
    for key, (valid, wanted) in _COVERED.items():
        value = config.get(key)
        if value is not None and not valid(value):
            problems.append(f"{key} is {value!r}: {wanted} is needed")
    off = _OFF | {key: (False,) for key in _unused(architecture)}
    for key, harmless in off.items():
        value = config.get(key)
        if value is not None and value not in harmless:
            problems.append(f"{name} with {key} {_shown(value)} is not supported")
    return problems


def _window_problems(architecture: Architecture, config: Mapping[str, Any]) -> list[str]:
    name, types = architecture.name, config.get("layer_types")
    if types is None:
        return []
    if not isinstance(types, list) or not all(t in _LAYER_TYPES for t in types):
        return [
            f"{name} with layer_types {_shown(types)} is not supported: each may be one of "
            f"{', '.join(_LAYER_TYPES)}"
        ]
    layers = config_value(config, "num_hidden_layers")
    if layers is not None and len(types) != layers:
        return [f"layer_types has {len(types)} entries for {layers} layers"]
    if architecture.windows != "layer_types":
        # Here every block is alike, and layer_types is not read.
        windowed = architecture.windows == "every_layer" and _has_window(architecture, config)
        alike = _LAYER_TYPES[windowed]
        if set(types) == {alike}:
            return []
        return [f"{name} with layer_types is supported only where all are {alike}"]
    # Qwen's window is off unless it is switched on; without one transformers refuses as well.
    if "sliding_attention" in types and not _has_window(architecture, config):
        return ["layer_types names sliding_attention, and there is no sliding_window"]
    return []


def _has_window(architecture: Architecture, config: Mapping[str, Any]) -> bool:
    switched = architecture.value(config, "use_sliding_window")
    return switched is not False and architecture.value(config, "sliding_window") is not None


def _rotary_problems(architecture: Architecture, config: Mapping[str, Any]) -> list[str]:
    problems, name = [], architecture.name
    partial = {"partial_rotary_factor": config.get("partial_rotary_factor")}
    partial["rotary_pct"] = config.get("rotary_pct")
    for key in ("rope_scaling", "rope_parameters"):
        found = config.get(key)
        if found is None:
            continue
        if not isinstance(found, dict):
            problems.append(f"{key} is {_shown(found)}: a JSON object is needed")
            continue
        nested = [value for value in found.values() if isinstance(value, dict)]
        for rope in nested or [found]:
            kind = rope.get("rope_type", rope.get("type", "default"))
            if kind not in architecture.rope_types:
                known = ", ".join(architecture.rope_types) or "none: its positions are learned"
                problems.append(f"{name} with rope_type {kind!r} is not supported (known: {known})")
            if rope.get("partial_rotary_factor") is not None:
                partial["partial_rotary_factor"] = rope["partial_rotary_factor"]
    problems += _theta_problems(config)
    for key, value in partial.items():
        covered = key in architecture.partial_rotary
        if value is not None and value != 1 and not (covered and _number(value) and value < 1):
            problems.append(f"{name} with {key} {_shown(value)} is not supported")
    return problems


def _theta_problems(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the config gives twice of the rotary positions, and differently."""
    outer, ropes = config.get("rope_theta"), config.get("rope_parameters")
    scaling = config.get("rope_scaling")
    if isinstance(scaling, dict) and isinstance(ropes, dict):
        names = {"type": "rope_type"}
        said = {names.get(key, key): value for key, value in scaling.items()}
        found = {"rope_type": "default", **ropes}
        if any(found.get(key) != value for key, value in said.items()):
            yield (
                f"rope_scaling is {_shown(scaling)}, and rope_parameters {_shown(ropes)}: which one"
                " the model was trained with is not known; leave the wrong one out"
            )
    if outer is None or not isinstance(ropes, dict):
        return
    inner = ropes.get("rope_theta")
    if inner is not None and inner != outer:
        yield (
            f"rope_theta is {_shown(outer)}, and {_shown(inner)} in rope_parameters: which one the"
            " model was trained with is not known; leave the wrong one out"
        )


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
