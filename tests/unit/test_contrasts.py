import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from scipy.stats import t as student

from nashlens.contrasts import (
    balanced_accuracy_columns,
    balanced_accuracy_statistic,
    cluster_bootstrap,
    cluster_sums,
    rank_correlations,
    rank_p,
    student_interval,
    student_p,
    student_quantile,
    wilson_interval,
)


def _rng():
    return np.random.default_rng(0)


def test_estimate_is_the_mean_of_rows_not_of_clusters():
    result = cluster_bootstrap(
        [1, 1, 1, 0], ["a", "a", "a", "b"], resamples=50, confidence=0.9, rng=_rng()
    )
    assert result.estimate == 0.75
    assert (result.n, result.n_clusters) == (4, 2)
    assert result.low <= 0.75 <= result.high


def test_one_cluster_has_no_interval():
    result = cluster_bootstrap([1, 0], ["a", "a"], resamples=50, confidence=0.9, rng=_rng())
    assert result.estimate == 0.5
    assert np.isnan([result.low, result.high]).all()


def test_no_rows_give_nan():
    result = cluster_bootstrap([], [], resamples=10, confidence=0.9, rng=_rng())
    assert np.isnan(result.estimate)
    assert result.n == result.n_clusters == 0


def test_rows_with_nan_are_left_out():
    result = cluster_bootstrap(
        [1, np.nan, 0], ["a", "b", "c"], resamples=50, confidence=0.9, rng=_rng()
    )
    assert (result.estimate, result.n, result.n_clusters) == (0.5, 2, 2)


def test_several_columns_give_arrays():
    values = np.array([[1.0, 2.0], [3.0, 4.0]])
    result = cluster_bootstrap(values, ["a", "b"], resamples=50, confidence=0.9, rng=_rng())
    np.testing.assert_array_equal(result.estimate, [2.0, 3.0])


def test_repeating_rows_within_clusters_does_not_narrow_the_interval():
    values = np.random.default_rng(1).normal(size=40)
    groups = np.arange(40)
    once = cluster_bootstrap(values, groups, resamples=400, confidence=0.95, rng=_rng())
    many = cluster_bootstrap(
        np.repeat(values, 9), np.repeat(groups, 9), resamples=400, confidence=0.95, rng=_rng()
    )
    assert once.low == pytest.approx(many.low)
    assert once.high == pytest.approx(many.high)


def test_coverage_is_about_nominal_with_dependent_rows():
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(200):
        effect = np.repeat(rng.normal(size=40), 5)
        values = effect + rng.normal(size=200)
        groups = np.repeat(np.arange(40), 5)
        result = cluster_bootstrap(values, groups, resamples=300, confidence=0.9, rng=rng)
        covered += result.low <= 0 <= result.high
    assert 0.82 < covered / 200 < 0.97


def test_balanced_accuracy_ignores_class_sizes():
    truth = np.array([0] * 90 + [1] * 10)
    columns = balanced_accuracy_columns(truth, np.zeros(100))
    result = cluster_bootstrap(
        columns,
        np.arange(100),
        balanced_accuracy_statistic,
        resamples=100,
        confidence=0.95,
        rng=_rng(),
    )
    assert result.estimate == 0.5


def test_cluster_sums_add_rows_of_unsorted_groups():
    sums, sizes = cluster_sums([1, 2, 3], ["b", "a", "b"])
    np.testing.assert_array_equal(sums[:, 0], [2, 4])
    np.testing.assert_array_equal(sizes, [1, 2])


def test_wilson_known_value_and_edges():
    low, high = wilson_interval(8, 10, 0.95)
    assert (low, high) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson_interval(0, 5, 0.95)[0] == 0.0
    assert wilson_interval(5, 5, 0.95)[1] == 1.0
    assert np.isnan(wilson_interval(0, 0, 0.95)).all()


def test_rank_p_counts_the_score_itself_and_ties():
    assert rank_p(0.5, [0.1, 0.2, 0.3]) == 0.25
    assert rank_p(0.3, [0.1, 0.3, 0.5]) == 0.75
    assert rank_p(-1.0, []) == 1.0
    assert rank_p(0.5, [np.nan, 0.6]) == pytest.approx(2 / 3)
    assert rank_p(1e-17, [0.0], size=1.0) == 1.0


@pytest.mark.parametrize("size", [1e-9, 1.0, 1e9])
def test_rank_p_counts_ties_up_to_rounding_whatever_the_size(size):
    assert 0.1 + 0.2 > 0.3
    assert rank_p((0.1 + 0.2) * size, [0.3 * size, 0.0]) == pytest.approx(2 / 3)
    assert rank_p(0.3000001 * size, [0.3 * size, 0.0]) == pytest.approx(1 / 3)


def test_rank_p_does_not_tie_all_scores_with_an_infinite_one():
    assert rank_p(0.5, [-np.inf, 0.4]) == pytest.approx(1 / 3)


def test_students_interval_is_scipys_and_a_normal_one_without_end():
    low, high = student_interval(1.0, 0.5, 4, 0.9, at_once=3)
    assert (low, high) == pytest.approx(student.interval(1 - 0.1 / 3, 4, 1.0, 0.5))
    assert student_quantile(0.025, np.inf) == norm.isf(0.025)
    assert student_p(2.0, 1.0, 7, 0.0) == student.sf(2.0, 7)


def test_rank_correlation_equals_pandas_and_is_0_where_nothing_moves():
    rng = np.random.default_rng(0)
    values = np.array([-2.0, 0.0, 1.0, 5.0])
    p = rng.random((6, 4)).round(1)
    found = rank_correlations(p, values)
    for row, value in zip(p, found, strict=True):
        expected = pd.Series(row).corr(pd.Series(values), method="spearman")
        assert value == pytest.approx(expected)
    assert rank_correlations(np.full((1, 4), 0.3), values)[0] == 0.0
