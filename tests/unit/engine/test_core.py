"""The engine against the model's own forward, in float32."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nashlens.engine.core import Engine
from nashlens.engine.labels import LabelledPrompt, label_probabilities
from nashlens.errors import DataError
from tests import reference
from tests.prompt_sets import matches

TOLERANCE = 1e-5
slow = settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def relative(ours, theirs):
    return np.abs(ours - theirs).max() / np.abs(theirs).max()


def collect(engine, sequences):
    result = np.full((len(sequences), engine.n_layers + 1, engine.width), np.nan, dtype=np.float32)
    for indices, values in engine.residuals(sequences):
        result[indices] = values
    return result


@pytest.mark.parametrize("batch_tokens", [1, 24, 4096])
def test_residuals_equal_forward_hooks(loaded, rng, batch_tokens):
    sequences = [p.ids for p in matches(rng, 12)]
    ours = collect(Engine(loaded, batch_tokens), sequences)
    assert relative(ours, reference.residuals(loaded, sequences)) < TOLERANCE


def test_last_layer_gives_the_models_own_logits(loaded, rng):
    ids = rng.integers(0, 61, 9).tolist()
    engine = Engine(loaded)
    last = torch.from_numpy(collect(engine, [ids])[:, -1])
    with torch.inference_mode():
        theirs = loaded.model(torch.tensor([ids])).logits[0, -1:]
        assert relative(engine.blocks.logits(last).numpy(), theirs.numpy()) < TOLERANCE


@pytest.mark.parametrize("label_tokens", [1, 3])
def test_label_scores_equal_the_chain_rule(loaded, rng, label_tokens):
    prompts = matches(rng, 10, label_tokens)
    ours = Engine(loaded, 64).label_logprobs(prompts)
    assert np.abs(ours - reference.label_logprobs(loaded, prompts)).max() < 1e-4


def test_labels_that_start_alike_are_scored_whole(loaded, rng):
    labels = [([5, 6], [5, 7]), ([5, 6, 7], [5, 8]), ([5, 6, 7], [5, 6, 8, 9]), ([5], [6, 5])]
    stem = rng.integers(0, 61, 12).tolist()
    prompts = [LabelledPrompt([*stem, k], pair) for k, pair in enumerate(labels)]
    ours = Engine(loaded, 64).label_logprobs(prompts)
    assert np.abs(ours - reference.label_logprobs(loaded, prompts)).max() < 1e-4


@slow
@given(
    st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=17), min_size=1, max_size=9),
    st.integers(1, 40),
)
def test_any_forest_equals_the_reference(loaded, seqs, budget):
    ours = collect(Engine(loaded, budget), seqs)
    assert relative(ours, reference.residuals(loaded, seqs)) < TOLERANCE


def test_out_of_memory_halves_the_budget_and_loses_nothing(loaded, rng, monkeypatch, caplog):
    sequences = [p.ids for p in matches(rng, 30)]
    engine = Engine(loaded, 256)
    run = Engine.run_row

    def hungry(self, row, parts, **kwargs):
        if len(row) > 100:
            raise torch.OutOfMemoryError("pretend")
        return run(self, row, parts, **kwargs)

    monkeypatch.setattr(Engine, "run_row", hungry)
    ours = collect(engine, sequences)
    assert engine.batch_tokens < 256
    assert "out of memory" in caplog.text
    assert relative(ours, reference.residuals(loaded, sequences)) < TOLERANCE


def test_a_label_without_tokens_is_refused(loaded):
    with pytest.raises(DataError, match="no tokens"):
        Engine(loaded).label_logprobs([LabelledPrompt([1], ([], [2]))])


def test_label_probabilities_renormalise_and_keep_the_mass():
    p, mass = label_probabilities(np.log([[0.3, 0.1]]))
    np.testing.assert_allclose(p, [[0.75, 0.25]])
    np.testing.assert_allclose(mass, [0.4])
