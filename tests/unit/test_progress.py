import logging

from nashlens import progress as module
from nashlens.progress import progress


def test_items_come_through_and_a_short_loop_says_nothing(caplog):
    caplog.set_level(logging.INFO)
    assert list(progress([1, 2, 3], "work")) == [1, 2, 3]
    assert caplog.text == ""


def test_a_long_loop_says_rate_and_time_left(caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    clock = iter([0.0, 1.0, 20.0, 40.0, 41.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    assert len(list(progress(range(4), "work", unit="shards"))) == 4
    assert caplog.messages == ["work: 2 of 4 shards, 0.05/s, 40 s left"]
