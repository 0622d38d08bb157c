"""Jobs of one machine share its GPUs as far as their memory fits, and no further."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import workflow.leases as module
from nashlens.gpus import Gpu
from nashlens.plan.asks import Ask
from tests.conftest import ROOT
from workflow.leases import IDLE, PATIENCE, Lease, bounded, leased, place, scheduled_mb

TWO = [Gpu("0", "GPU-a", 80_000), Gpu("1", "GPU-b", 80_000)]


class Machine:
    """A machine of some GPUs, with the jobs that wait and run on it."""

    def __init__(self, folder, gpus):
        self.folder, self.gpus, self.now = folder, list(gpus), 0.0
        self.waiting, self.running = [], []

    def start(self, ask):
        lease = Lease(ask, self.gpus, self.folder, lambda: self.gpus, lambda: self.now)
        (self.running if lease.take() else self.waiting).append(lease)
        return lease

    def look(self):
        """Every job that waits looks once."""
        for lease in list(self.waiting):
            if lease.take():
                self.waiting.remove(lease)
                self.running.append(lease)

    def end(self, lease):
        self.running.remove(lease)
        lease.release()

    def kill(self, lease):
        """End a job as SIGKILL does: the kernel closes its files, and nothing else happens."""
        (self.running if lease in self.running else self.waiting).remove(lease)
        lease._life.close()

    def use(self, number, used):
        gpu = self.gpus[number]
        self.gpus[number] = Gpu(gpu.name, gpu.uuid, gpu.total, used)

    def taken(self):
        found = dict.fromkeys((gpu.uuid for gpu in self.gpus), 0)
        for lease in self.running:
            for name, share in lease.places:
                found[name] += share
        return found


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path, TWO)


def test_jobs_share_a_gpu_as_long_as_their_memory_fits(machine):
    jobs = [machine.start(Ask((30_000,))) for _ in range(5)]
    assert [lease.places[0][0] for lease in jobs[:4]] == ["GPU-a", "GPU-b"] * 2
    assert machine.waiting == [jobs[4]]
    machine.end(jobs[1])
    machine.look()
    assert jobs[4].places == [("GPU-b", 30_000)]


def test_a_pair_is_on_one_gpu_where_both_fit_and_else_each_on_its_own(machine):
    assert machine.start(Ask((30_000, 40_000))).places == [("GPU-a", 30_000), ("GPU-a", 40_000)]
    machine.end(machine.running[0])
    assert machine.start(Ask((45_500, 47_200))).places == [("GPU-b", 45_500), ("GPU-a", 47_200)]


def test_one_that_needs_a_whole_gpu_is_not_kept_out_by_small_ones(machine):
    """They come faster than they go, and each would fit beside the others."""
    small = [machine.start(Ask((20_000,))) for _ in range(4)]
    large = machine.start(Ask((75_000,)))
    for _ in range(20):
        machine.start(Ask((20_000,)))
        machine.end(machine.running[0])
        machine.look()
        if large in machine.running:
            break
    assert large in machine.running
    assert small[0] not in machine.running
    # Beside it the small ones went on, on the other GPU.
    assert machine.taken()[large.places[0][0]] == 75_000
    assert len(machine.running) > 1


def test_what_asks_for_more_than_there_is_gets_all_of_it():
    assert bounded(Ask((90_000,)), TWO) == Ask(whole=1)
    assert bounded(Ask((90_000, 10_000)), TWO) == Ask(whole=2)
    assert bounded(Ask((60_000, 50_000)), TWO[:1]) == Ask(whole=1)
    assert bounded(Ask((60_000, 50_000)), TWO) == Ask((60_000, 50_000))
    assert bounded(Ask(whole=3), TWO) == Ask(whole=-1)
    assert bounded(Ask((120_000, 40_000), pins=(1, 1)), TWO) == Ask((60_000, 20_000), pins=(1, 1))


def test_a_named_gpu_is_waited_for(machine):
    first = machine.start(Ask((50_000,), pins=(1,)))
    second = machine.start(Ask((50_000,), pins=(1,)))
    assert first.places == [("GPU-b", 50_000)]
    assert second in machine.waiting
    assert machine.start(Ask((50_000,))).places == [("GPU-a", 50_000)]


def test_the_dead_hold_nothing(machine):
    holder, waiter = machine.start(Ask(whole=2)), machine.start(Ask(whole=2))
    third = machine.start(Ask((1_000,)))
    assert machine.waiting == [waiter, third]
    machine.kill(waiter)
    machine.kill(holder)
    machine.look()
    assert third in machine.running
    assert third.owners() == [os.getpid()]
    assert sorted(path.suffix for path in machine.folder.iterdir()) == [".json", ".lock", ".lock"]


def test_what_other_programs_use_counts(machine):
    machine.use(0, 60_000)
    assert machine.start(Ask((30_000,))).places == [("GPU-b", 30_000)]
    machine.end(machine.running[0])
    machine.use(1, IDLE)
    assert machine.start(Ask((80_000,))).places == [("GPU-b", 80_000)]
    machine.use(1, 90_000)
    waiter = machine.start(Ask((30_000,)))
    machine.use(0, 40_000)
    machine.look()
    assert waiter.places == [("GPU-a", 30_000)]


def test_other_programs_are_not_waited_for_forever(machine):
    """A run that hangs tells less than one that says that memory is full."""
    machine.use(0, 70_000)
    machine.use(1, 70_000)
    waiter = machine.start(Ask((30_000,)))
    machine.look()
    machine.now += PATIENCE - 1
    machine.look()
    assert waiter in machine.waiting
    machine.now += 2
    machine.look()
    assert waiter in machine.running


ASKS = st.one_of(
    st.lists(st.integers(1, 100_000), min_size=1, max_size=3).map(lambda s: Ask(tuple(s))),
    st.sampled_from([-1, 1, 2, 3, 4]).map(lambda n: Ask(whole=n)),
    st.tuples(st.integers(1, 100_000), st.integers(0, 4)).map(lambda t: Ask(t[:1], pins=t[1:])),
)
GPUS = st.lists(st.sampled_from([24_000, 48_000, 80_000]), min_size=1, max_size=4).map(
    lambda sizes: [Gpu(str(k), f"GPU-{k}", size) for k, size in enumerate(sizes)]
)
EVENTS = st.lists(st.one_of(ASKS, st.sampled_from(["end", "kill", "kill a waiter", "look"])))


@settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(gpus=GPUS, events=EVENTS, data=st.data())
def test_never_too_much_and_nobody_waits_forever(tmp_path_factory, gpus, events, data):
    machine = Machine(tmp_path_factory.mktemp("leases"), gpus)
    total = {gpu.uuid: gpu.total for gpu in gpus}
    for event in events:
        if isinstance(event, Ask):
            machine.start(event)
        elif event == "look":
            machine.look()
        elif jobs := machine.waiting if event == "kill a waiter" else machine.running:
            lease = data.draw(st.sampled_from(jobs))
            machine.end(lease) if event == "end" else machine.kill(lease)
        assert all(taken <= total[name] for name, taken in machine.taken().items())
    # The first in the queue runs once those are done that run now, whoever else looks before it.
    while machine.waiting:
        first = machine.waiting[0]
        for lease in list(machine.running):
            machine.end(lease)
            for other in reversed(list(machine.waiting)):
                if other is not first and other.take():
                    machine.waiting.remove(other)
                    machine.running.append(other)
            machine.start(Ask((1_000,)))
            assert all(taken <= total[name] for name, taken in machine.taken().items())
        machine.look()
        assert first not in machine.waiting


@given(ask=ASKS, gpus=GPUS)
def test_what_is_asked_for_is_read_as_it_was_written(ask, gpus):
    assert Ask.parse(str(ask)) == ask
    assert place(bounded(ask, gpus), gpus, {gpu.uuid: gpu.total for gpu in gpus}) is not None
    assert 0 < scheduled_mb(ask, gpus) <= sum(gpu.total for gpu in gpus)


def test_snakemake_starts_no_more_jobs_than_fit():
    """Three of 50 GB fit in the sum of two GPUs of 80, and not on them."""
    assert scheduled_mb(Ask((50_000,)), TWO) == 80_000
    assert scheduled_mb(Ask((39_000,)), TWO) == 40_000
    assert scheduled_mb(Ask((45_500, 47_200)), TWO) == 160_000
    assert scheduled_mb(Ask((10_000, 15_000)), TWO) == 26_666
    assert scheduled_mb(Ask(whole=1), TWO) == 80_000
    assert scheduled_mb(Ask(whole=-1), TWO) == 160_000


@pytest.fixture
def here(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "read_gpus", lambda: TWO)
    monkeypatch.setattr(module, "machine_folder", lambda: tmp_path)
    monkeypatch.delenv(module.VISIBLE, raising=False)


def test_a_job_sees_the_gpus_that_it_leased_and_no_other(here):
    with leased("30000"), leased("30000") as second:
        assert second == TWO[1:]
        assert os.environ[module.VISIBLE] == "1"
    assert module.VISIBLE not in os.environ
    with leased("60000+50000") as both:
        # In the order of its models, the larger one's first.
        assert both == TWO
        assert module.VISIBLE not in os.environ
    with leased("50000+60000") as both:
        assert os.environ[module.VISIBLE] == "1,0"
    with leased("50000@1"):
        # It counts among all of them.
        assert module.VISIBLE not in os.environ
    with leased(None) as none:
        assert none == []


def test_waiting_is_said_once(here, monkeypatch, caplog):
    caplog.set_level("INFO")
    with leased("2 whole"):
        naps = iter([None, None, InterruptedError])

        def sleep(_):
            if error := next(naps):
                raise error

        monkeypatch.setattr(module.time, "sleep", sleep)
        with pytest.raises(InterruptedError), leased("1000"):
            pass
    assert [r.getMessage() for r in caplog.records if "waits" in r.getMessage()] == [
        f"waits for a GPU: asks for 1000 MB; processes on them: {os.getpid()}"
    ]
    assert not (module.machine_folder() / "ledger.json").read_text().count("pid")


def test_a_killed_process_gives_back_its_lease(tmp_path):
    code = f"""
        import time
        from pathlib import Path
        from nashlens.gpus import Gpu
        from workflow.leases import Ask, Lease
        gpus = [Gpu("0", "GPU-a", 80_000)]
        lease = Lease(Ask(whole=1), gpus, Path({str(tmp_path)!r}), lambda: gpus)
        print(lease.take(), flush=True)
        time.sleep(60)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    owner = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    machine = Machine(tmp_path, TWO[:1])
    try:
        assert owner.stdout.readline() == "True\n"
        waiter = machine.start(Ask((1_000,)))
        assert waiter.owners() == [owner.pid]
        assert waiter in machine.waiting
        owner.send_signal(signal.SIGKILL)
        owner.wait()
        machine.look()
        assert waiter in machine.running
    finally:
        owner.kill()
        owner.wait()
