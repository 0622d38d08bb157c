"""Where memory runs out, what runs at once is halved until it fits, and that is said once."""

import logging

import pytest
import torch

from nashlens.memory import Batch


def test_what_is_left_goes_on_in_halves_and_one_warning_says_so(caplog):
    batch = Batch("things")

    def work(some):
        if some.stop - some.start > 3:
            raise torch.OutOfMemoryError("pretend")
        return list(range(some.start, some.stop))

    with caplog.at_level(logging.INFO):
        found = batch.run(20, work)
    assert [k for some in found for k in some] == list(range(20))
    assert max(map(len, found)) == batch.size == 2
    warnings = [r.message for r in caplog.records if r.levelno == logging.WARNING]
    assert warnings == ["out of memory: 10 things at once from now on"]
    # The size stays for what comes later, of which nothing fails.
    caplog.clear()
    assert len(batch.run(5, work)) == 3
    assert not caplog.records


def test_what_cannot_be_halved_and_other_errors_go_on():
    def fail(error):
        def work(some):
            raise error

        return work

    batch = Batch("things", 8, least=4)
    with pytest.raises(torch.OutOfMemoryError):
        batch.run(9, fail(torch.OutOfMemoryError("pretend")))
    assert batch.size == 4
    with pytest.raises(KeyError):
        batch.run(9, fail(KeyError("x")))
    # Fewer than the least ran: no half of them would be less.
    with pytest.raises(torch.OutOfMemoryError):
        Batch("things", 8, least=4).run(3, fail(torch.OutOfMemoryError("pretend")))


def test_tensors_of_the_call_that_failed_are_let_go():
    import weakref

    held = []

    def work(some):
        tensor = torch.zeros(3)
        held.append(weakref.ref(tensor))
        if some.stop - some.start > 1:
            raise torch.OutOfMemoryError("pretend")

    batch = Batch("things")
    batch.run(2, work)
    assert held[0]() is None
