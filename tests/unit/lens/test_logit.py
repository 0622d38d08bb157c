import numpy as np
import pandas as pd
import pytest
from scipy.special import logsumexp

from nashlens.errors import DataError
from nashlens.lens import logit as lens
from nashlens.models.weights import FinalNorm, Readout


def _prompts(n, vocabulary, rng):
    half = vocabulary // 2
    return pd.DataFrame(
        {
            "prompt_id": [f"p{i}" for i in range(n)],
            "match_id": [f"m{i // 2}" for i in range(n)],
            "dropped": "",
            "label_tokens_0": [[int(rng.integers(0, half))] for _ in range(n)],
            "label_tokens_1": [
                [int(rng.integers(vocabulary // 2, vocabulary)), 1] for _ in range(n)
            ],
        }
    )


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(lens, "VOCABULARY_BLOCK", 7)  # several blocks, the last one short
    rng = np.random.default_rng(0)
    unembedding = rng.normal(size=(30, 8)).astype(np.float32)
    residual = rng.normal(size=(6, 8)).astype(np.float32) * 40
    weight = rng.normal(size=8).astype(np.float32)
    return rng, unembedding, residual, weight


@pytest.mark.parametrize("softcap", [None, 3.0])
@pytest.mark.parametrize("layer_norm", [False, True])
def test_probabilities_equal_a_plain_softmax(small, softcap, layer_norm):
    rng, unembedding, residual, weight = small
    bias = rng.normal(size=8).astype(np.float32) if layer_norm else None
    prompts = _prompts(6, 30, rng)
    table = lens.lens_table(
        lambda layer: residual,
        [3],
        prompts,
        readout=Readout(FinalNorm(weight, 1e-5, bias, layer_norm), unembedding, softcap),
        model="m",
        batch=4,
    )
    x = residual.astype(np.float64)
    x = x - x.mean(axis=1, keepdims=True) if layer_norm else x
    x = x / np.sqrt((x**2).mean(axis=1, keepdims=True) + 1e-5) * weight
    logits = (x if bias is None else x + bias) @ unembedding.T.astype(np.float64)
    logits = logits if softcap is None else softcap * np.tanh(logits / softcap)
    logp = logits - logsumexp(logits, axis=1, keepdims=True)
    rows = np.arange(6)
    first = np.array([t[0] for t in prompts["label_tokens_0"]])
    second = np.array([t[0] for t in prompts["label_tokens_1"]])
    np.testing.assert_allclose(table["logit_0"], logits[rows, first], rtol=1e-5, atol=1e-5)
    p = np.exp(logp[rows, first]), np.exp(logp[rows, second])
    np.testing.assert_allclose(table["label_mass"], p[0] + p[1], rtol=1e-5)
    np.testing.assert_allclose(table["p_action_0"], p[0] / (p[0] + p[1]), rtol=1e-5)
    np.testing.assert_allclose(table["p_action_0"] + table["p_action_1"], 1.0)
    assert (table["n_label_tokens"] == 2).all()


def test_last_layer_equals_a_llama_own_logits():
    torch = pytest.importorskip("torch")
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=40,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=32,
    )
    model = LlamaForCausalLM(config).eval()
    captured = {}
    model.model.layers[-1].register_forward_hook(
        lambda module, inputs, output: captured.update(
            last=(output[0] if isinstance(output, tuple) else output).detach()
        )
    )
    ids = torch.randint(0, 40, (5, 9))
    with torch.no_grad():
        model.model.norm.weight.mul_(1.7)
        logits = model(ids).logits[:, -1].double().numpy()
    prompts = _prompts(5, 40, np.random.default_rng(1))
    table = lens.lens_table(
        lambda layer: captured["last"][:, -1].numpy(),
        [3],
        prompts,
        readout=Readout(
            FinalNorm(model.model.norm.weight.detach().numpy(), config.rms_norm_eps),
            model.lm_head.weight.detach().numpy(),
        ),
        model="m",
    )
    logp = logits - logsumexp(logits, axis=1, keepdims=True)
    rows = np.arange(5)
    first = np.array([t[0] for t in prompts["label_tokens_0"]])
    second = np.array([t[0] for t in prompts["label_tokens_1"]])
    np.testing.assert_allclose(table["logit_0"], logits[rows, first], atol=1e-5)
    np.testing.assert_allclose(table["logit_1"], logits[rows, second], atol=1e-5)
    mass = np.exp(logp[rows, first]) + np.exp(logp[rows, second])
    np.testing.assert_allclose(table["label_mass"], mass, rtol=1e-5)


def _call(prompts, residual, unembedding, weight):
    return lens.lens_table(
        lambda layer: residual,
        [0, 1],
        prompts,
        readout=Readout(FinalNorm(weight, 1e-5), unembedding),
        model="m",
    )


def test_equal_prompts_get_equal_rows_and_dropped_ones_none(small):
    rng, unembedding, residual, weight = small
    prompts = _prompts(7, 30, rng)
    prompts.loc[6, "dropped"] = "too long"
    prompts.loc[5, ["prompt_id", "label_tokens_0", "label_tokens_1"]] = prompts.loc[
        0, ["prompt_id", "label_tokens_0", "label_tokens_1"]
    ]
    residual[5] = residual[0]
    table = _call(prompts, residual, unembedding, weight)
    assert len(table) == 12
    layer = table[table["layer"] == 1].reset_index(drop=True)
    assert layer["match_id"].tolist() == prompts["match_id"].tolist()[:6]
    assert layer.loc[5, "logit_0"] == layer.loc[0, "logit_0"]


def test_unfitting_input_is_refused(small):
    rng, unembedding, residual, weight = small
    prompts = _prompts(6, 30, rng)
    with pytest.raises(DataError, match="layer 0"):
        _call(prompts, residual[:4], unembedding, weight)
    with pytest.raises(DataError, match="lies outside"):
        _call(prompts, residual, unembedding[:10], weight)
    prompts["label_tokens_0"] = [[] for _ in range(6)]
    with pytest.raises(DataError, match="empty"):
        _call(prompts, residual, unembedding, weight)
