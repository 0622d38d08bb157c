import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, r2_score, roc_auc_score

from nashlens.contrasts import rank_p
from nashlens.probes.scores import (
    auroc,
    auroc_interval,
    balanced_accuracies,
    column_scores,
    minimum_detectable,
    r_squared,
    score_draws,
)


@pytest.fixture
def drawn():
    rng = np.random.default_rng(0)
    labels = (rng.random(200) < 0.3).astype(float)
    decisions = np.round(rng.normal(size=200) + labels, 1)  # with ties
    return labels, decisions, rng


def test_balanced_accuracy_equals_scikit_learn(drawn):
    labels, decisions, _ = drawn
    found = balanced_accuracies(labels[:, None], (decisions > 0).astype(float)[:, None])
    assert found[0] == pytest.approx(balanced_accuracy_score(labels, decisions > 0))


def test_auroc_equals_scikit_learn_ties_included(drawn):
    labels, decisions, _ = drawn
    found = auroc(labels, decisions, np.zeros(200, int), np.ones((1, 200)))
    assert found[0] == pytest.approx(roc_auc_score(labels, decisions))


def test_auroc_compares_rows_of_one_part_alone(drawn):
    labels, decisions, rng = drawn
    parts = rng.integers(3, size=200)
    moved = decisions + 10.0 * parts  # each part on a scale of its own
    same = auroc(labels, decisions, parts, np.ones((1, 200)))
    np.testing.assert_allclose(auroc(labels, moved, parts, np.ones((1, 200))), same)
    pairs, won = 0, 0.0
    for i in np.flatnonzero(labels == 1):
        for j in np.flatnonzero(labels == 0):
            if parts[i] == parts[j]:
                pairs += 1
                won += float(np.heaviside(decisions[i] - decisions[j], 0.5))
    assert same[0] == pytest.approx(won / pairs)


def test_weights_of_auroc_are_repeats(drawn):
    labels, decisions, rng = drawn
    weights = rng.integers(3, size=200)
    repeated = np.repeat(np.arange(200), weights)
    found = auroc(labels, decisions, np.zeros(200, int), weights[None].astype(float))
    assert found[0] == pytest.approx(roc_auc_score(labels[repeated], decisions[repeated]))


def test_auroc_of_one_class_is_missing_and_of_equal_values_one_half():
    ones = np.ones((1, 4))
    parts = np.zeros(4, int)
    assert np.isnan(auroc(np.ones(4), np.arange(4.0), parts, ones))[0]
    assert auroc(np.array([0.0, 1, 0, 1]), np.zeros(4), parts, ones)[0] == 0.5


def test_the_interval_resamples_whole_matches(drawn):
    labels, decisions, rng = drawn
    matches = np.repeat([f"m{k:02d}" for k in range(20)], 10)
    counts = rng.multinomial(20, np.full(20, 0.05), size=300).astype(float)
    parts = np.zeros(200, int)
    value, low, high = auroc_interval(labels, decisions, parts, matches, counts, 0.95)
    assert low < value < high
    draws = score_draws(
        labels[:, None], decisions[:, None], np.zeros((200, 1)), False, matches, counts
    )
    once = np.repeat(np.arange(200), np.repeat(counts[0].astype(int), 10))
    assert draws[0, 0] == pytest.approx(balanced_accuracy_score(labels[once], decisions[once] > 0))


def test_r_squared_is_against_the_training_mean(drawn):
    _, decisions, rng = drawn
    truth = decisions + rng.normal(size=200)
    baseline = np.full((200, 1), truth.mean())
    found = r_squared(truth[:, None], decisions[:, None], baseline)
    assert found[0] == pytest.approx(r2_score(truth, decisions))
    assert column_scores(truth[:, None], baseline, baseline, True)[0] == 0.0
    matches = np.arange(200).astype(str)
    counts = np.ones((1, 200))
    draws = score_draws(truth[:, None], decisions[:, None], baseline, True, matches, counts)
    assert draws[0, 0] == pytest.approx(found[0])


def test_the_minimum_detectable_effect_has_the_power_it_states():
    rng = np.random.default_rng(1)
    null = rng.normal(0.5, 0.02, size=20000)
    effect = minimum_detectable(null, 0.95)
    found = rng.normal(effect, 0.02, size=20000) > np.quantile(null, 0.95)
    assert found.mean() == pytest.approx(0.8, abs=0.01)
    assert np.isnan(minimum_detectable(np.array([0.5]), 0.95))


def test_the_data_count_as_one_permutation():
    null = np.array([0.4, 0.5, 0.6])
    assert rank_p(0.9, null) == 0.25
    assert rank_p(0.5, null) == 0.75
