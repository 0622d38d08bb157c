"""Strategy mixtures and serial independence."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import logsumexp

from nashlens.play.metrics import mixture, serial
from nashlens.strategies import cooperation

bits = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=9)


@given(st.lists(bits, min_size=1, max_size=4))
def test_predictions_are_the_strategies(matches):
    t = max(map(len, matches))
    own, other = np.full((2, len(matches), t), np.nan)
    for k, moves in enumerate(matches):
        own[k, : len(moves)], other[k, : len(moves)] = np.array(moves).T
    found = mixture.predictions(own, other)
    for k, moves in enumerate(matches):
        for s, name in enumerate(mixture.NAMES[:5]):
            for r in range(len(moves)):
                mine, theirs = ([m[i] for m in moves[:r]] for i in (0, 1))
                assert found[s, k, r] == 1 - cooperation(name, mine, theirs)
            assert np.isnan(found[s, k, len(moves) :]).all()


def simulated(names, weights, error, n, t, rng):
    own, other = np.zeros((n, t)), rng.integers(0, 2, (n, t)).astype(float)
    for k in range(n):
        name = rng.choice(names, p=weights)
        for r in range(t):
            p = cooperation(str(name), list(own[k, :r]), list(other[k, :r]), 0.5)
            p = p if name == "RANDOM" else abs(p - error)
            own[k, r] = rng.random() >= p
    return own, other


def test_planted_weights_and_errors_are_found():
    rng = np.random.default_rng(1)
    own, other = simulated(["TFT", "ALLD", "RANDOM"], [0.5, 0.3, 0.2], 0.05, 300, 20, rng)
    found = mixture.fit_mixture(own, other, np.arange(300), np.zeros((0, 300)))
    weights = dict(zip(found.classes, found.weights[0], strict=True))
    assert weights[("TFT",)] == pytest.approx(0.5, abs=0.08)
    assert weights[("ALLD",)] == pytest.approx(0.3, abs=0.08)
    assert weights[("RANDOM",)] == pytest.approx(0.2, abs=0.08)
    assert found.error[0] == pytest.approx(0.05, abs=0.01)


def test_the_fit_maximises_the_likelihood():
    rng = np.random.default_rng(2)
    own, other = simulated(["TFT", "GRIM", "ALLC"], [0.4, 0.4, 0.2], 0.1, 40, 10, rng)
    moves = mixture.predictions(own, other)
    hits, length = (moves == own).sum(axis=2).T.astype(float), np.full(40, 10.0)

    def loss(x):
        w, e = np.exp(x[:6] - x[:6].max()), 0.5 / (1 + np.exp(-x[6]))
        total = 0.0
        for m in range(40):
            each = [(1 - e) ** hits[m, s] * e ** (10 - hits[m, s]) for s in range(5)]
            total -= np.log(np.dot(w / w.sum(), [*each, 0.5**10]))
        return total

    weights, error = mixture.maximise_likelihood(hits, length, np.ones((1, 40)))
    logits = np.log(weights[0] + 1e-12)
    at = np.append(logits, np.log(error[0] / (0.5 - error[0])))
    best = min(
        minimize(loss, start, method="L-BFGS-B").fun
        for start in (at, np.zeros(7), rng.normal(size=7))
    )
    assert loss(at) <= best + 0.02


@given(
    st.lists(st.tuples(*[st.integers(0, 900)] * 3), min_size=1, max_size=4),
    st.floats(mixture.LEAST_ERROR, 0.5),
    st.tuples(*[st.floats(0.0, 1.0)] * 2),
)
def test_the_likelihood_of_long_matches_is_the_formula_in_logarithms(lines, error, weights):
    length = np.array([float(max(line)) for line in lines])
    hits = np.array([line[:2] for line in lines], dtype=float)
    mixed = np.array([*weights, 1.0]) / (sum(weights) + 1.0)
    found = mixture._log_likelihood(
        hits, length, np.ones((1, len(lines))), mixed[None], np.array([error])
    )
    slow = 0.0
    for own, n in zip(hits, length, strict=True):
        logs = [k * np.log1p(-error) + (n - k) * np.log(error) for k in own] + [-n * np.log(2.0)]
        slow += logsumexp(logs, b=mixed)
    assert found[0] == pytest.approx(slow, rel=1e-9, abs=1e-9)


def test_resamples_are_fits_of_their_own():
    rng = np.random.default_rng(3)
    own, other = simulated(["TFT", "RANDOM"], [0.5, 0.5], 0.1, 8, 12, rng)
    counts = rng.multinomial(8, np.full(8, 1 / 8), size=5).astype(float)
    found = mixture.fit_mixture(own, other, np.arange(8), counts)
    for k in range(5):
        index = np.repeat(np.arange(8), counts[k].astype(int))
        alone = mixture.fit_mixture(own[index], other[index], np.arange(8), np.zeros((0, 8)))
        if alone.classes == found.classes:
            np.testing.assert_allclose(alone.weights[0], found.weights[k + 1], atol=0.03)


def test_what_cannot_be_told_apart_is_one_class():
    zeros = np.zeros((3, 5))
    found = mixture.fit_mixture(zeros, zeros, np.arange(3), np.zeros((0, 3)))
    assert found.classes == [("ALLC", "TFT", "GRIM", "WSLS"), ("ALLD",), ("RANDOM",)]
    assert found.weights[0, 0] == pytest.approx(1, abs=1e-3)


def slow_information(lines):
    pairs = [(a, b) for line in lines for a, b in pairwise(line)]
    total = 0.0
    for i in (0, 1):
        for j in (0, 1):
            p = sum(pair == (i, j) for pair in pairs) / len(pairs)
            first = sum(pair[0] == i for pair in pairs) / len(pairs)
            second = sum(pair[1] == j for pair in pairs) / len(pairs)
            total += p * np.log2(p / first / second) if p else 0.0
    return total


@given(st.lists(st.lists(st.integers(0, 1), min_size=4, max_size=4), min_size=1, max_size=5))
def test_mutual_information(lines):
    found = serial.mutual_information(serial.transitions(np.array(lines, float)).sum(axis=0))
    assert found == pytest.approx(slow_information(lines), abs=1e-9)


def test_alternation_is_seen_and_coins_are_not():
    rng = np.random.default_rng(0)
    turns = np.tile([0.0, 1.0], (4, 6))
    coins = rng.integers(0, 2, (40, 12)).astype(float)
    coins[:, 9:] = np.nan
    for moves, low, high in ((turns, 0, 0.01), (coins, 0.02, 1)):
        observed = serial.mutual_information(serial.transitions(moves).sum(axis=0))
        reference = serial.permuted(moves, 250, rng)
        assert low < serial.p_value(float(observed), reference) <= high
        assert len(reference) == 250
