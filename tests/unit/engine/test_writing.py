"""Writings against one hooked forward for each prompt and intervention, in float32."""

import numpy as np
import pytest
import torch

from nashlens.engine.core import Engine
from nashlens.engine.writing import Writing, residuals_under, written
from nashlens.errors import DataError
from nashlens.models.weights import FinalNorm
from tests import reference

NORM = FinalNorm(np.ones(32, dtype=np.float32), 1e-5)


def expected(loaded, ids, some, prompt):
    """Return `(layers + 1, width)` by plain hooks at the last token."""

    def edited(one):
        def hook(_module, _inputs, out):
            out = out.clone()
            along, value = (
                torch.tensor(x[prompt], dtype=torch.float32) for x in (one.along, one.value)
            )
            norm = NORM if one.reads else None
            out[0, -1] = written(out[0, -1:].float(), along[None], value[None], norm)[0]
            return out

        return hook

    modules = reference._modules(loaded)
    hooks = [modules[one.layer].register_forward_hook(edited(one)) for one in some]
    try:
        return reference.residuals(loaded, [ids])[0]
    finally:
        for hook in hooks:
            hook.remove()


def test_residuals_above_a_writing_equal_one_hooked_forward(loaded, rng):
    sequences = [rng.integers(0, 61, 6 + i % 3).tolist() for i in range(7)]
    sequences += [[*sequences[0][:4], 3, 5]]
    n = len(sequences)

    def writing(layer, reads):
        return Writing(layer, rng.normal(size=(n, 32)), rng.normal(size=n) * 3, reads)

    interventions = [
        (writing(2, False),),
        (writing(1, True), writing(3, True)),
        (writing(0, True),),
        (writing(4, False),),
    ]
    found = residuals_under(Engine(loaded), sequences, interventions, NORM)
    for p, ids in enumerate(sequences):
        for k, some in enumerate(interventions):
            first = min(one.layer for one in some)
            theirs = expected(loaded, ids, some, p)[first:]
            assert np.isnan(found[p, k, :first]).all()
            assert np.abs(found[p, k, first:] - theirs).max() < 1e-5 * np.abs(theirs).max()


@pytest.mark.parametrize("centred", [False, True])
def test_what_is_written_is_read_by_the_norm(rng, centred):
    norm = FinalNorm(np.ones(32, dtype=np.float32), 1e-5, centred=centred)
    x, along = rng.normal(size=(2, 5, 32)).astype(np.float32)
    value = np.array([-3.0, -0.5, 0.0, 0.5, 3.0], dtype=np.float32)
    changed = written(*map(torch.from_numpy, (x, along, value)), norm).numpy()
    if centred:
        along = along - along.mean(1, keepdims=True)
    assert (norm(changed) * along).sum(1) == pytest.approx(value, abs=1e-4)


def test_equal_prompts_and_empty_interventions_are_errors(loaded):
    one = Writing(1, np.ones((2, 32)), np.ones(2))
    with pytest.raises(DataError, match="the same tokens"):
        residuals_under(Engine(loaded), [[1, 2], [1, 2]], [(one,)], NORM)
    with pytest.raises(DataError, match="empty"):
        residuals_under(Engine(loaded), [[1, 2], [1, 3]], [()], NORM)
