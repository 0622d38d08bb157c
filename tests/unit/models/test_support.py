"""What is covered, what is refused, and the table's defaults against transformers' own."""

import pytest
import transformers

from nashlens.models.registry import ARCHITECTURES
from nashlens.models.support import config_problems
from tests.tiny_models import FAMILIES, architecture, config_of

TYPES = ["full_attention", "sliding_attention"] * 2
LAYERS = {"num_hidden_layers": 4}


def refused(name, **config):
    return config_problems({"architectures": [name], **config})


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_familys_own_config_is_covered(family):
    config = config_of(family, architectures=[architecture(family)])
    assert config_problems(config.to_dict()) == []
    assert config_problems(config.to_diff_dict()) == []


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("MistralForCausalLM", {"sliding_window": None}),
        ("MistralForCausalLM", {"sliding_window": 1024, "max_position_embeddings": 32768}),
        ("MistralForCausalLM", {"layer_types": ["sliding_attention"] * 4, **LAYERS}),
        ("LlamaForCausalLM", {"sliding_window": None, "num_local_experts": 0}),
        ("LlamaForCausalLM", {"rope_scaling": {"type": "linear", "factor": 2.0}}),
        (
            "LlamaForCausalLM",
            {
                "rope_scaling": {"type": "linear", "factor": 2.0},
                "rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4},
            },
        ),
        ("LlamaForCausalLM", {"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}),
        ("Qwen2ForCausalLM", {"sliding_window": 64}),
        ("Qwen2ForCausalLM", {"use_sliding_window": True, "max_window_layers": 2, **LAYERS}),
        (
            "Qwen3ForCausalLM",
            {"layer_types": TYPES, "use_sliding_window": True, "sliding_window": 8, **LAYERS},
        ),
        (
            "Gemma3ForCausalLM",
            {
                "sliding_window": 512,
                "sliding_window_pattern": 6,
                "attn_logit_softcapping": None,
                "rope_scaling": {"rope_type": "linear", "factor": 8.0},
            },
        ),
        (
            "Phi3ForCausalLM",
            {
                "auto_map": {"AutoModelForCausalLM": "modeling_phi3.Phi3ForCausalLM"},
                "partial_rotary_factor": 0.75,
                "rope_scaling": {"type": "su", "long_factor": [], "short_factor": []},
            },
        ),
        ("GPTNeoXForCausalLM", {"rotary_pct": 0.25, "use_parallel_residual": False}),
        ("GPT2LMHeadModel", {"model_type": "gpt2", "n_layer": 4, "n_embd": 32}),
    ],
)
def test_what_released_models_have_is_accepted(name, config):
    assert refused(name, **config) == []


@pytest.mark.parametrize(
    ("name", "config", "part"),
    [
        ("LlamaForCausalLM", {"auto_map": {"AutoModel": "x.y"}}, "auto_map"),
        ("Phi3ForCausalLM", {"auto_map": {"AutoModel": "mine.Phi3Model"}}, "auto_map"),
        ("LlamaForCausalLM", {"quantization_config": {"a": 1}}, "stored quantised"),
        ("LlamaForCausalLM", {"model_type": "granite"}, "'granite', and LlamaForCausalLM has"),
        ("LlamaForCausalLM", {"num_local_experts": 8}, "num_local_experts 8 is not supported"),
        ("LlamaForCausalLM", {"sliding_window": 64}, "sliding_window 64 is not supported"),
        ("LlamaForCausalLM", {"layer_types": TYPES, **LAYERS}, "only where all are full_att"),
        ("LlamaForCausalLM", {"final_logit_softcapping": 30.0}, "final_logit_softcapping 30.0"),
        ("LlamaForCausalLM", {"residual_multiplier": 0.2}, "residual_multiplier 0.2"),
        ("LlamaForCausalLM", {"rope_scaling": {"type": "dynamic"}}, "rope_type 'dynamic'"),
        ("LlamaForCausalLM", {"rope_parameters": {"rope_type": "new"}}, "rope_type 'new'"),
        ("LlamaForCausalLM", {"rope_scaling": "linear"}, "a JSON object is needed"),
        ("LlamaForCausalLM", {"partial_rotary_factor": 0.5}, "partial_rotary_factor 0.5"),
        ("LlamaForCausalLM", {"is_causal": False}, "is_causal False is not supported"),
        ("LlamaForCausalLM", {"mlp_bias": "some"}, "mlp_bias is 'some': true or false"),
        ("MistralForCausalLM", {"sliding_window": "all"}, "a positive whole number is needed"),
        ("MistralForCausalLM", {"sliding_window": 0}, "a positive whole number is needed"),
        ("MistralForCausalLM", {"layer_types": TYPES, **LAYERS}, "only where all are sliding"),
        ("Qwen2ForCausalLM", {"dual_chunk_attention_config": {"a": 1}}, "dual_chunk"),
        ("Qwen2ForCausalLM", {"layer_types": ["chunked_attention"] * 4}, "each may be one of"),
        ("Qwen2ForCausalLM", {"layer_types": TYPES, "num_hidden_layers": 5}, "4 entries for 5"),
        ("Qwen3ForCausalLM", {"layer_types": TYPES, **LAYERS}, "there is no sliding_window"),
        ("Gemma2ForCausalLM", {"sliding_window": None, "layer_types": TYPES}, "there is no slid"),
        ("Gemma2ForCausalLM", {"attn_logit_softcapping": -1}, "a positive number is needed"),
        ("Gemma2ForCausalLM", {"use_bidirectional_attention": True}, "use_bidirectional_att"),
        ("Gemma3ForCausalLM", {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping 50.0"),
        ("Gemma3ForCausalLM", {"text_config": {"a": 1}}, "text_config"),
        (
            "Gemma3ForCausalLM",
            {"rope_parameters": {"full_attention": {"rope_type": "longrope"}}},
            "rope_type 'longrope'",
        ),
        ("GPTNeoXForCausalLM", {"use_parallel_residual": "both"}, "true or false is needed"),
        ("GPTNeoXForCausalLM", {"rotary_pct": 2.5}, "rotary_pct 2.5"),
        ("GPT2LMHeadModel", {"add_cross_attention": True}, "add_cross_attention True"),
        ("GPT2LMHeadModel", {"rope_scaling": {"type": "linear"}}, "its positions are learned"),
        ("BloomForCausalLM", {}, "BloomForCausalLM is not supported: use one of Llama"),
    ],
)
def test_what_is_not_covered_is_refused(name, config, part):
    (problem,) = refused(name, **config)
    assert part in problem


@pytest.mark.parametrize("config", [{}, {"architectures": []}, {"architectures": [1]}])
def test_no_architecture(config):
    (problem,) = config_problems(config)
    assert "one of LlamaForCausalLM, " in problem


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_the_tables_defaults_are_transformers_own(family):
    entry = ARCHITECTURES[architecture(family)]
    config_class = getattr(transformers, FAMILIES[family][0])
    assert config_class.model_type == entry.model_type
    for key, value in entry.defaults.items():
        assert getattr(config_class, key) == value, key
    for key in (entry.norm_eps, "tie_word_embeddings", entry.logit_softcap):
        assert key is None or key in entry.defaults or getattr(config_class, key) is None
