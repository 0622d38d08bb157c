"""The engine against the model's own forward, in float32."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nashlens.engine import core
from nashlens.engine.core import Engine
from nashlens.engine.labels import LabelledPrompt, label_probabilities
from nashlens.errors import DataError
from tests import reference
from tests.designs import residuals_of
from tests.prompt_sets import matches

TOLERANCE = 1e-5
slow = settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def relative(ours, theirs):
    return np.abs(ours - theirs).max() / np.abs(theirs).max()


@pytest.mark.parametrize("batch_tokens", [1, 24, 4096])
def test_residuals_equal_forward_hooks(loaded, rng, batch_tokens):
    sequences = [p.ids for p in matches(rng, 12)]
    ours = residuals_of(Engine(loaded, batch_tokens), sequences)
    assert relative(ours, reference.residuals(loaded, sequences)) < TOLERANCE


def collect_at(engine, sequences, places):
    size = (*places.shape, engine.n_layers + 1, engine.width)
    result, seen = np.full(size, np.inf, dtype=np.float32), []
    for indices, values in engine.residuals_at(sequences, places):
        result[indices] = values
        seen += indices.tolist()
    assert sorted(seen) == list(range(len(sequences)))
    return result


def assert_equal_where_present(ours, theirs):
    present = ~np.isnan(theirs)
    assert (present == ~np.isnan(ours)).all()
    assert relative(ours[present], theirs[present]) < TOLERANCE


@pytest.mark.parametrize("batch_tokens", [1, 24, 4096])
def test_residuals_at_tokens_of_a_shared_history_equal_forward_hooks(loaded, rng, batch_tokens):
    sequences = [p.ids for p in matches(rng, 12)]
    places = np.stack(
        [
            # The last token, others in any order, one twice, and in every second prompt none.
            [len(ids) - 1, *rng.integers(0, len(ids), 3), 0, -1 if k % 2 else 0]
            for k, ids in enumerate(sequences)
        ]
    )
    ours = collect_at(Engine(loaded, batch_tokens), sequences, places)
    assert np.isnan(ours).any()
    assert_equal_where_present(ours, reference.residuals_at(loaded, sequences, places))


def test_residuals_come_to_the_host_in_pieces_whatever_a_row_holds(loaded, rng, monkeypatch):
    engine = Engine(loaded, 4096)
    sequences = [rng.integers(0, 61, 5).tolist() for _ in range(20)]
    places = np.array([[4, 1]] * 20)
    whole = dict(zip(*next(engine.residuals_at(sequences, places)), strict=True))
    assert len(whole) == 20
    # Room for three sequences and a half.
    monkeypatch.setattr(core, "COPY_BYTES", 7 * (engine.n_layers + 1) * engine.width * 4)
    batches = list(engine.residuals_at(sequences, places))
    assert [len(indices) for indices, _ in batches] == [3] * 6 + [2]
    for indices, values in batches:
        for index, value in zip(indices, values, strict=True):
            np.testing.assert_allclose(value, whole[index], atol=1e-5)


def test_places_that_are_no_tokens_are_refused(loaded):
    engine = Engine(loaded)
    for places in ([[3]], [[-2]]):
        with pytest.raises(DataError, match="sequence 0 has 3 tokens"):
            list(engine.residuals_at([[1, 2, 3]], np.array(places)))
    with pytest.raises(DataError, match="at no token"):
        list(engine.residuals_at([[1, 2, 3]], np.array([[-1]])))
    with pytest.raises(DataError, match="shape"):
        list(engine.residuals_at([[1, 2, 3]], np.array([0])))


def test_last_layer_gives_the_models_own_logits(loaded, rng):
    ids = rng.integers(0, 61, 9).tolist()
    engine = Engine(loaded)
    last = torch.from_numpy(residuals_of(engine, [ids])[:, -1])
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
    ours = residuals_of(Engine(loaded, budget), seqs)
    assert relative(ours, reference.residuals(loaded, seqs)) < TOLERANCE


@slow
@given(st.data(), st.integers(1, 40))
def test_any_tokens_of_any_forest_equal_the_reference(loaded, data, budget):
    sequence = st.lists(st.integers(0, 2), min_size=1, max_size=17)
    seqs = data.draw(st.lists(sequence, min_size=1, max_size=9))
    places = np.array(
        [
            [len(ids) - 1, *data.draw(st.tuples(*[st.integers(-1, len(ids) - 1)] * 3))]
            for ids in seqs
        ]
    )
    ours = collect_at(Engine(loaded, budget), seqs, places)
    assert_equal_where_present(ours, reference.residuals_at(loaded, seqs, places))


def test_out_of_memory_halves_the_budget_and_loses_nothing(loaded, rng, monkeypatch, caplog):
    sequences = [p.ids for p in matches(rng, 30)]
    engine = Engine(loaded, 256)
    run = Engine.run_row

    def hungry(self, row, parts, **kwargs):
        if len(row) > 100:
            raise torch.OutOfMemoryError("pretend")
        return run(self, row, parts, **kwargs)

    monkeypatch.setattr(Engine, "run_row", hungry)
    ours = residuals_of(engine, sequences)
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
