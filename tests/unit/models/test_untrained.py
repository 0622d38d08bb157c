import pytest
import torch

from nashlens.errors import ModelError
from nashlens.models.load import load_model
from nashlens.models.untrained import load_untrained
from nashlens.planted import build


@pytest.fixture(scope="module", params=["random", "random_qwen2"])
def folder(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / request.param
    build(request.param, path)
    return path


def _weights(loaded):
    return dict(loaded.model.named_parameters())


def test_the_architecture_is_the_models_and_the_weights_are_not(folder):
    trained = load_model(folder, device="cpu", dtype="float32")
    untrained = load_untrained(folder, seed=1, device="cpu", dtype="float32")
    for name in ("architecture", "n_layers", "width", "vocab", "dtype", "device", "name"):
        assert getattr(untrained, name) == getattr(trained, name)
    before, after = _weights(trained), _weights(untrained)
    assert {k: v.shape for k, v in before.items()} == {k: v.shape for k, v in after.items()}
    matrices = [k for k in after if after[k].ndim == 2]
    assert all(not torch.equal(before[k], after[k]) for k in matrices)
    spread = untrained.model.config.initializer_range
    for k in matrices:
        assert after[k].std().item() == pytest.approx(spread, rel=0.15)
    assert all((v == 1).all() for k, v in after.items() if v.ndim == 1 and "norm" in k)
    assert not any(v.requires_grad for v in after.values())


def test_the_seed_and_the_name_decide(folder):
    state = torch.random.get_rng_state()
    one = _weights(load_untrained(folder, seed=1, device="cpu", dtype="float32"))
    same = _weights(load_untrained(folder, seed=1, device="cpu", dtype="float32"))
    other = _weights(load_untrained(folder, seed=2, device="cpu", dtype="float32"))
    assert all(torch.equal(one[k], same[k]) for k in one)
    assert any(not torch.equal(one[k], other[k]) for k in one)
    # Nobody else's random numbers move.
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_folder_that_is_no_model_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"no config\.json"):
        load_untrained(tmp_path, seed=1)
