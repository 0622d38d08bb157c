import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import logsumexp

from nashlens.errors import DataError
from nashlens.lens import logit as lens
from nashlens.lens import vocabulary
from nashlens.models.weights import FinalNorm, Readout
from nashlens.prompts.extra import extra_sequences
from nashlens.prompts.labels import prompt_id

VOCABULARY, WIDTH = 30, 8


def make_prompts(n, rng, tokens=VOCABULARY, shared=()):
    """The second label has one token more, and every prompt a content-free one."""
    ids = rng.integers(0, tokens, (n, 5)).tolist()
    prior = rng.integers(0, tokens, 3).tolist()
    half = tokens // 2
    return pd.DataFrame(
        {
            "prompt_id": [prompt_id(row) for row in ids],
            "token_ids": ids,
            "match_id": [f"m{i // 2}" for i in range(n)],
            "dropped": "",
            "label_tokens_0": [[*shared, int(rng.integers(0, half))] for _ in range(n)],
            "label_tokens_1": [[*shared, int(rng.integers(half, tokens)), 1] for _ in range(n)],
            "prior_id": prompt_id(prior),
            "prior_token_ids": [prior] * n,
        }
    )


class Residuals:
    """Random residuals by layer and sequence."""

    def __init__(self, width=WIDTH):
        self.known, self.width = {}, width

    def __call__(self, layer, ids):
        for name in ids:
            seed = int(name[:8], 16) + layer if name[0] in "0123456789abcdef" else layer
            rng = np.random.default_rng(seed)
            self.known.setdefault((layer, name), 40 * rng.normal(size=self.width))
        return np.array([self.known[layer, name] for name in ids], dtype=np.float32)


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(vocabulary, "VOCABULARY_BLOCK", 7)  # several blocks, the last one short
    monkeypatch.setattr(vocabulary, "PIECE", 4)
    rng = np.random.default_rng(0)
    unembedding = rng.normal(size=(VOCABULARY, WIDTH)).astype(np.float32)
    weight = rng.normal(size=WIDTH).astype(np.float32)
    return rng, unembedding, weight


@pytest.mark.parametrize("softcap", [None, 3.0])
@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("shared", [(), (4, 2)])
def test_every_column_equals_a_plain_softmax(small, softcap, layer_norm, shared):
    rng, unembedding, weight = small
    bias = rng.normal(size=WIDTH).astype(np.float32) if layer_norm else None
    prompts, load = make_prompts(6, rng, shared=shared), Residuals()
    table = lens.lens_table(
        load,
        [3, 4],
        prompts,
        readout=Readout(FinalNorm(weight, 1e-5, bias, layer_norm), unembedding, softcap),
        model="m",
        last=4,
    )

    def logp(layer, name):
        x = load(layer, [name])[0].astype(np.float64)
        x = x - x.mean() if layer_norm else x
        x = x / np.sqrt((x**2).mean() + 1e-5) * weight
        logits = (x if bias is None else x + bias) @ unembedding.T.astype(np.float64)
        logits = logits if softcap is None else softcap * np.tanh(logits / softcap)
        return logits - logsumexp(logits)

    k = len(shared)

    def compared(layer, ids, labels):
        """Log P of the two tokens in which the labels differ first."""
        here = logp(layer, prompt_id([*ids, *shared]))
        return np.array([here[label[k]] for label in labels])

    def whole(layer, ids, label):
        parts = [ids + label[:k] for k in range(len(label))]
        return sum(logp(layer, prompt_id(p))[t] for p, t in zip(parts, label, strict=True))

    for row in table.itertuples():
        prompt = prompts.set_index("prompt_id").loc[row.prompt_id]
        labels, ids = (prompt["label_tokens_0"], prompt["label_tokens_1"]), prompt["token_ids"]
        own = compared(row.layer, ids, labels)
        assert row.logit_1 - row.logit_0 == pytest.approx(own[1] - own[0], abs=1e-4)
        assert row.label_mass == pytest.approx(np.exp(own).sum(), rel=1e-4)
        assert row.p_action_0 == pytest.approx(1 / (1 + np.exp(own[1] - own[0])), rel=1e-4)
        assert row.p_action_0 + row.p_action_1 == pytest.approx(1)
        words = [whole(row.layer, ids, label) for label in labels]
        assert row.whole_action_1 == pytest.approx(1 / (1 + np.exp(words[0] - words[1])), rel=1e-4)
        name = prompt_id([*ids, *shared])
        here, final = logp(row.layer, name), logp(4, name)
        for action, rank in enumerate((row.rank_0, row.rank_1)):
            assert rank == 1 + (here > here[labels[action][k]]).sum()
        assert row.kl == pytest.approx((np.exp(final) * (final - here)).sum(), abs=1e-5)
        prior = compared(row.layer, prompt["prior_token_ids"], labels)
        assert row.prior_action_1 == pytest.approx(1 / (1 + np.exp(prior[0] - prior[1])), rel=1e-4)
    assert (table["n_label_tokens"] == 2 + k).all()
    assert (table["first_different_token"] == k).all()


def test_the_lens_asks_for_what_the_extra_sequences_hold(small):
    """Labels that share tokens, and that differ in length: no residual is missing."""
    rng, unembedding, weight = small
    prompts = make_prompts(4, rng, shared=(4, 2)).assign(game="g")
    # A content-free prompt holds its labels, so prompts with the same one have the same labels.
    for column in ("label_tokens_0", "label_tokens_1"):
        prompts[column] = [prompts[column][0]] * 4
    ids = dict(zip(prompts["prompt_id"], prompts["token_ids"], strict=True))
    extra = set(extra_sequences([prompts], ids)["prompt_id"])
    load = Residuals()
    _call(prompts, load, unembedding, weight)
    asked = {name for _, name in load.known}
    assert asked <= extra | set(ids)
    assert asked & extra


def test_a_translator_is_applied_before_the_norm(small):
    rng, unembedding, weight = small
    prompts, load = make_prompts(4, rng), Residuals()
    options = {"readout": Readout(FinalNorm(weight, 1e-5), unembedding), "model": "m", "last": 2}
    turned = lens.lens_table(
        load, [1, 2], prompts, **options, translate=lambda layer, x: x if layer == 2 else load_2(x)
    )
    plain = lens.lens_table(load, [2], prompts, **options)
    first = turned[turned["layer"] == 1].reset_index(drop=True)
    columns = ["logit_0", "logit_1", "whole_action_1", "label_mass", "kl", "prior_action_1"]
    assert (first["kl"] > 0.01).all()
    halved = lens.lens_table(
        lambda layer, ids: load_2(load(layer, ids)) if layer == 1 else load(layer, ids),
        [1],
        prompts,
        **options,
    )
    pd.testing.assert_frame_equal(first[columns], halved[columns])
    again = turned[turned["layer"] == 2].reset_index(drop=True)
    pd.testing.assert_frame_equal(again[columns], plain[columns])
    assert again["kl"].max() < 1e-6


def load_2(x):
    return x[:, ::-1] + 1.0


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
    prompts = make_prompts(5, np.random.default_rng(1), tokens=40)
    captured = {}
    model.model.layers[-1].register_forward_hook(
        lambda module, inputs, output: captured.update(
            last=(output[0] if isinstance(output, tuple) else output).detach()
        )
    )
    states, p, first = {}, np.zeros((5, 2)), np.zeros((5, 2))
    with torch.no_grad():
        model.model.norm.weight.mul_(1.7)
        for i, row in enumerate(prompts.itertuples()):
            for action, label in enumerate((row.label_tokens_0, row.label_tokens_1)):
                logp = 0.0
                for k, token in enumerate(label):
                    ids = [*row.token_ids, *label[:k]]
                    logits = model(torch.tensor([ids])).logits[0, -1].double()
                    states[prompt_id(ids)] = captured["last"].reshape(len(ids), -1)[-1].numpy()
                    logp += float(logits.log_softmax(-1)[token])
                    first[i, action] = first[i, action] if k else np.exp(logp)
                p[i, action] = np.exp(logp)
        for label in ([], *prompts["label_tokens_1"]):
            ids = [*prompts["prior_token_ids"][0], *label[:1]]
            model(torch.tensor([ids]))
            states[prompt_id(ids)] = captured["last"].reshape(len(ids), -1)[-1].numpy()
    table = lens.lens_table(
        lambda layer, ids: np.array([states[name] for name in ids]),
        [3],
        prompts,
        readout=Readout(
            FinalNorm(model.model.norm.weight.detach().numpy(), config.rms_norm_eps),
            model.lm_head.weight.detach().numpy(),
        ),
        model="m",
        last=3,
    )
    np.testing.assert_allclose(table["label_mass"], first.sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(table["p_action_0"], first[:, 0] / first.sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(table["whole_action_1"], p[:, 1] / p.sum(axis=1), rtol=1e-5)
    assert table["kl"].max() < 1e-6


def _call(prompts, load, unembedding, weight):
    readout = Readout(FinalNorm(weight, 1e-5), unembedding)
    return lens.lens_table(load, [0, 1], prompts, readout=readout, model="m", last=1)


def _large(softcap, device="cpu"):
    """Read 30 prompts over a vocabulary of 5,000."""
    rng = np.random.default_rng(1)
    unembedding = rng.normal(size=(5000, 32)).astype(np.float32)
    readout = Readout(FinalNorm(np.ones(32, np.float32), 1e-5), unembedding, softcap)
    how = {"readout": readout, "model": "m", "last": 2, "device": device}
    load = Residuals(width=32)
    return lens.lens_table(load, [0, 1, 2], make_prompts(30, rng, tokens=5000), **how)


@pytest.mark.parametrize("softcap", [None, 3.0])
@pytest.mark.parametrize("sizes", [(4, 7), (64, 1000), (7, 5000)])
def test_blocks_and_pieces_change_rounding_alone(monkeypatch, softcap, sizes):
    expected = _large(softcap)
    monkeypatch.setattr(vocabulary, "PIECE", sizes[0])
    monkeypatch.setattr(vocabulary, "VOCABULARY_BLOCK", sizes[1])
    pd.testing.assert_frame_equal(_large(softcap), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("softcap", [None, 3.0])
@pytest.mark.skipif(not torch.cuda.is_available(), reason="compares a GPU with the CPU")
def test_a_gpu_reads_what_a_cpu_reads(softcap):
    found = _large(softcap, "cuda")
    pd.testing.assert_frame_equal(found, _large(softcap), rtol=1e-4, atol=1e-5)


def test_equal_prompts_get_equal_rows_and_dropped_ones_none(small):
    rng, unembedding, weight = small
    prompts = make_prompts(7, rng)
    prompts.loc[6, "dropped"] = "too long"
    same = ["prompt_id", "token_ids", "label_tokens_0", "label_tokens_1"]
    for column in same:
        prompts.at[5, column] = prompts.at[0, column]
    table = _call(prompts, Residuals(), unembedding, weight)
    assert len(table) == 12
    layer = table[table["layer"] == 1].reset_index(drop=True)
    assert layer["match_id"].tolist() == prompts["match_id"].tolist()[:6]
    assert layer.loc[5, "logit_0"] == layer.loc[0, "logit_0"]


def test_without_content_free_prompts_there_is_no_prior(small):
    rng, unembedding, weight = small
    prompts = make_prompts(4, rng).drop(columns=["prior_id", "prior_token_ids"])
    assert _call(prompts, Residuals(), unembedding, weight)["prior_action_1"].isna().all()


def test_unfitting_input_is_refused(small):
    rng, unembedding, weight = small
    prompts = make_prompts(6, rng)
    with pytest.raises(DataError, match="layer 1: found shape"):
        _call(prompts, Residuals(width=5), unembedding, weight)
    with pytest.raises(DataError, match="lies outside"):
        _call(prompts, Residuals(), unembedding[:10], weight)
    bare = prompts.drop(columns=["token_ids", "prior_id", "prior_token_ids"])
    with pytest.raises(DataError, match="need token_ids"):
        _call(bare, Residuals(), unembedding, weight)
    prompts["label_tokens_0"] = [label[:1] for label in prompts["label_tokens_1"]]
    with pytest.raises(DataError, match="starts with all of the other"):
        _call(prompts, Residuals(), unembedding, weight)
    prompts["label_tokens_0"] = [[] for _ in range(6)]
    with pytest.raises(DataError, match="empty"):
        _call(prompts, Residuals(), unembedding, weight)
