"""What a sweep moved, from tables in which it is planted."""

import numpy as np
import pytest

from nashlens.steering.readings import Responses, Target, bounded
from tests.unit.findings.tables import steering


@pytest.fixture(scope="module")
def responses():
    return Responses(steering(slope=2.0, word=1.5, carries=0.4), "add")


def column(responses, layers):
    return responses.places["layers"].tolist().index(layers)


def test_places_are_single_layers_then_joint_ones(responses):
    assert responses.places["layers"].tolist() == ["4", "8", "12", "1+2"]
    assert responses.kinds == ["abstract", "label"]
    assert len(responses.random) == 20
    assert len(responses) == 16


def test_each_direction_moves_its_own_part(responses):
    at = column(responses, "8")
    moved = {
        kind: {part: responses.changes(kind, part)[:, at].mean() for part in responses.parts(kind)}
        for kind in responses.kinds
    }
    assert moved["abstract"]["action"] > 0.6
    assert abs(moved["abstract"]["word"]) < 0.1
    assert moved["label"]["word"] > 0.3
    assert abs(moved["label"]["action"]) < 0.1
    by_map = responses.by_map("label")
    assert by_map["swapped"][:, at].mean() > 0.3
    assert by_map["identity"][:, at].mean() < -0.3


def test_a_target_is_what_knowing_a_word_cannot_move(responses):
    abstract, label = responses.targets()
    assert (abstract.part, label.part) == ("action", "word")
    assert abstract.chosen.all()
    np.testing.assert_array_equal(label.chosen, responses.unseen)
    at = column(responses, "8")
    assert label.change_on(~responses.unseen).estimate[at] > 0.5
    assert label.change_on(responses.unseen).estimate[at] < 0.3
    assert label.random_changes().shape == (20, 4)


def test_both_ways_add_up(responses):
    found = responses.targets()[0].both_ways()
    up, down, whole = np.split(found.estimate, 3)
    np.testing.assert_allclose(up + down, whole)
    assert found.n_blocks == 16


def test_bounds_are_shared_between_kinds_and_places(responses):
    def read(confidence):
        return bounded(
            responses,
            Target.both_ways,
            confidence=confidence,
            resamples=300,
            rng=lambda kind: np.random.default_rng(len(kind)),
        )

    for bounds in read(0.95):
        alone = bounds.found.interval(0.95)
        assert (bounds.low <= alone[0] + 1e-12).all()
        assert (bounds.high >= alone[1] - 1e-12).all()
        assert bounds.found.estimate[bounds.at(2)].shape == (4,)


def test_what_does_not_move_has_no_order():
    table = steering(slope=0.0, noise=0.0, random_slope=0.0)
    found = Responses(table, "add").targets()[0].monotone()
    assert (found.estimate == 0).all()
