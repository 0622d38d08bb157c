"""Direct logit attribution against plain hooks, in float32, in every architecture."""

from operator import attrgetter

import numpy as np
import pytest
import torch

from nashlens.engine import attribution
from nashlens.engine.attribution import attribute
from nashlens.engine.core import Engine
from nashlens.engine.recording import Site, site_outputs
from nashlens.errors import DataError
from nashlens.memory import Batch
from nashlens.models.weights import FinalNorm

from .test_tensor import pair

TOLERANCE = 1e-4
PLUS, MINUS = 7, 19


def final_norm(loaded):
    names = loaded.architecture
    module = attrgetter(names.norm)(loaded.model)
    eps = float(names.value(loaded.model.config.to_dict(), names.norm_eps))
    weight = module.weight.detach().numpy()
    if names.norm_kind == "layer":
        return FinalNorm(weight, eps, module.bias.detach().numpy(), centred=True)
    return FinalNorm(weight + 1 if names.norm_kind == "rms_plus_one" else weight, eps)


def unembedding_difference(loaded):
    rows = attrgetter(loaded.architecture.unembed)(loaded.model).weight.detach().numpy()
    return rows[PLUS] - rows[MINUS]


def hooked(loaded, ids):
    """Return what attention and MLP of each block add at the last token, by plain hooks."""
    names, added, handles = loaded.architecture, {}, []

    def record(key):
        def hook(_module, _inputs, out):
            added[key] = out[0, -1].double().numpy()

        return hook

    for index, layer in enumerate(attrgetter(names.layers)(loaded.model)):
        for kind, path in (
            ("attention", names.attention_out_norm or names.o),
            ("mlp", names.mlp_out_norm or names.mlp),
        ):
            module = attrgetter(path)(layer)
            handles.append(module.register_forward_hook(record((kind, index))))
    with torch.inference_mode():
        logits = loaded.model(torch.tensor([ids]), use_cache=False).logits[0, -1].double()
    for handle in handles:
        handle.remove()
    return added, float(uncapped(loaded, logits[PLUS]) - uncapped(loaded, logits[MINUS]))


def uncapped(loaded, logit):
    cap = getattr(loaded.model.config, "final_logit_softcapping", None)
    return logit if cap is None else cap * torch.atanh(logit / cap)


@pytest.fixture
def sequences(rng):
    stem = rng.integers(0, 61, 9).tolist()
    return [stem + rng.integers(0, 61, int(k)).tolist() for k in (1, 4, 2, 4, 3)]


@pytest.mark.parametrize("batch_tokens", [16, 4096])
def test_parts_are_those_of_plain_hooks_and_add_up(loaded, sequences, batch_tokens):
    norm, difference = final_norm(loaded), unembedding_difference(loaded)
    found = attribute(
        Engine(loaded, batch_tokens), sequences, np.tile(difference, (len(sequences), 1)), norm
    )
    parts = found.embedding + found.attention.sum(1) + found.mlp.sum(1) + found.bias
    assert parts == pytest.approx(found.total, abs=TOLERANCE)
    summed = found.heads.sum(2) + found.attention_bias
    assert summed == pytest.approx(found.attention, abs=TOLERANCE)
    for i, ids in enumerate(sequences):
        added, logit = hooked(loaded, ids)
        assert found.total[i] == pytest.approx(logit, abs=TOLERANCE)
        ((_, last),) = Engine(loaded).residuals([ids])
        x = last[0, -1].astype(float)
        centre = x.mean() if norm.centred else 0.0
        scale = 1 / np.sqrt(((x - centre) ** 2).mean() + norm.eps)
        for (kind, index), value in added.items():
            value = value - value.mean() if norm.centred else value
            theirs = float((value * scale * norm.weight) @ difference)
            assert getattr(found, kind)[i, index] == pytest.approx(theirs, abs=TOLERANCE)


def test_a_head_that_is_taken_away_takes_its_part(loaded, sequences):
    """With all else frozen, the output projection without a head's columns lacks its part."""
    names, engine = loaded.architecture, Engine(loaded)
    norm, difference = final_norm(loaded), unembedding_difference(loaded)
    rows = np.tile(difference, (len(sequences), 1))
    before = attribute(engine, sequences, rows, norm)
    assert np.abs(before.heads).min() > 1e-6
    if names.attention_out_norm:
        return  # its scale would not stay as it was
    # The last block, so that nothing that follows but the MLP and the final norm changes.
    layer = attrgetter(names.layers)(loaded.model)[-1]
    weight = attrgetter(names.o)(layer).weight
    kept, size = weight.detach().clone(), engine.head_dim
    columns = slice(2 * size, 3 * size)
    with torch.no_grad():
        (weight[columns] if "GPT2" in type(loaded.model).__name__ else weight[:, columns]).zero_()
        try:
            after = attribute(engine, sequences, rows, norm)
        finally:
            weight.copy_(kept)
    assert np.abs(after.heads[:, -1, 2]).max() < 1e-9
    # The final scale is another one: ratios of what stayed are the same for all heads.
    others = after.heads[:, -1, [0, 1, 3]] / before.heads[:, -1, [0, 1, 3]]
    if not norm.centred:
        assert others == pytest.approx(np.tile(others[:, :1], (1, 3)), rel=1e-3)


def test_what_mlps_add_is_that_of_plain_hooks(loaded, sequences):
    sites = [Site("mlp", layer) for layer in range(1, Engine(loaded).n_layers + 1)]
    last = [[len(ids) - 1] for ids in sequences]
    outputs = site_outputs(Engine(loaded, 16), sequences, sites, last)
    found = np.stack([outputs[site] for site in sites], axis=1)
    for i, ids in enumerate(sequences):
        added, _ = hooked(loaded, ids)
        theirs = [added["mlp", index] for index in range(found.shape[1])]
        assert found[i] == pytest.approx(np.array(theirs), rel=1e-5, abs=TOLERANCE)


def test_shards_give_what_one_piece_gives(sequences):
    plain, sharded = pair("LlamaForCausalLM", 2)
    norm, difference = final_norm(plain), unembedding_difference(plain)
    rows = np.tile(difference, (len(sequences), 1))
    one, other = (attribute(Engine(x, 64), sequences, rows, norm) for x in (plain, sharded))
    for mine, theirs in zip(one, other, strict=True):
        assert mine == pytest.approx(theirs, abs=TOLERANCE)


def test_differences_of_another_number_are_refused(loaded, sequences):
    with pytest.raises(DataError, match=r"differences of shape \(2, 32\) for 5 sequences"):
        attribute(Engine(loaded), sequences, np.ones((2, 32)), final_norm(loaded))


def test_out_of_memory_halves_the_prompts_attributed_at_once(loaded, sequences, monkeypatch):
    norm, difference = final_norm(loaded), unembedding_difference(loaded)
    given = Engine(loaded), sequences, np.tile(difference, (len(sequences), 1)), norm
    whole, some = attribute(*given), attribution._attention

    def scarce(shares, outputs, towards):
        if len(outputs) > 2:
            raise torch.OutOfMemoryError("pretend")
        return some(shares, outputs, towards)

    monkeypatch.setattr(attribution, "_attention", scarce)
    monkeypatch.setattr(attribution, "_BATCH", Batch("prompts"))
    for ours, theirs in zip(attribute(*given), whole, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=TOLERANCE)
