"""How long jobs take side by side: those that compute on one GPU share it.

A GPU's throughput is divided evenly among the jobs that compute on it at a time. What a job does on
the host besides (its start, tables) takes as long as it takes by itself, as its cores are its own::

    alone      start 10 s, GPU 20 s: 30 s
    two        both start, then share:  10 + 2 x 20 = 50 s
    in turn    2 x 30 = 60 s
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter

from nashlens.plan.price import Price
from nashlens.plan.study import Job

_NOTHING = Price()


@dataclass
class _Running:
    """A job that runs: first what it does on the host, then what it computes on its GPUs."""

    job: int
    host: float
    """Seconds left of the first part."""
    kernels: float
    """Seconds left of the second, were it alone."""
    cores: int
    gpus: tuple[int, ...]
    share: int
    """Bytes that it holds of each of its GPUs."""

    @property
    def computes(self) -> bool:
        """Whether it computes on its GPUs now."""
        return self.host <= 0.0 < self.kernels

    @property
    def done(self) -> bool:
        """Whether nothing is left."""
        return self.host <= 0.0 and self.kernels <= 0.0


@dataclass
class _Machine:
    """What of a machine is free, and what runs there."""

    cores: int
    memory: list[int]
    """Bytes free on each GPU."""
    whole: int
    """Bytes of a GPU."""
    running: list[_Running]

    def begin(self, job: int, price: Price) -> bool:
        """Start a job if it fits; one that asks for more than there is takes all of it."""
        cores, count = min(price.threads, self._all_cores), min(price.gpus, len(self.memory))
        share = math.ceil(min(price.leased / count, self.whole)) if count else 0
        # The emptiest first, as leases do.
        order = sorted(range(len(self.memory)), key=lambda gpu: -self.memory[gpu])[:count]
        if cores > self.cores or any(self.memory[gpu] < share for gpu in order):
            return False
        self.cores -= cores
        for gpu in order:
            self.memory[gpu] -= share
        kernels = price.kernels if count else 0.0
        host = max(0.0, price.seconds - kernels)
        self.running.append(_Running(job, host, kernels, cores, tuple(order), share))
        return True

    def __post_init__(self) -> None:
        self._all_cores = self.cores

    def advance(self) -> tuple[float, list[int]]:
        """Go on until some job goes over to its GPUs or ends: the seconds, and those that ended."""
        users = [0] * len(self.memory)
        for one in self.running:
            for gpu in one.gpus if one.computes else ():
                users[gpu] += 1
        # Over several GPUs, the one that most jobs share decides.
        slower = [max((users[g] for g in one.gpus), default=1) or 1 for one in self.running]
        left = [
            one.kernels * slow if one.computes else one.host
            for one, slow in zip(self.running, slower, strict=True)
        ]
        passed = min(left)
        for one, slow, end in zip(self.running, slower, left, strict=True):
            over = math.isclose(end, passed, rel_tol=1e-12)
            if one.computes:
                one.kernels = 0.0 if over else one.kernels - passed / slow
            else:
                one.host = 0.0 if over else one.host - passed
        return passed, list(self._end())

    def _end(self) -> Iterator[int]:
        for one in [one for one in self.running if one.done]:
            self.running.remove(one)
            self.cores += one.cores
            for gpu in one.gpus:
                self.memory[gpu] += one.share
            yield one.job


def wall_clock(
    jobs: Sequence[Job],
    prices: Mapping[int, Price],
    cores: int,
    gpus: int,
    memory: float = 0.0,
) -> float:
    """Return the seconds until all jobs are done that are to do, side by side as far as they fit.

    Jobs start as soon as what they wait for is done, cores are free and GPUs have the memory that
    they ask for, those with the longest chain behind them first. A job that asks for more than
    there is takes all of it.

    Parameters
    ----------
    jobs : sequence of Job
    prices : mapping of int to Price
        By a job's place in the list; jobs without one take no time.
    cores, gpus : int
    memory : float
        Bytes of each GPU; 0 where that is not known: jobs then take turns on it.
    """
    waiting = {k: sum(jobs[b].todo for b in job.after) for k, job in enumerate(jobs) if job.todo}
    behind: dict[int, list[int]] = {k: [] for k in waiting}
    for k in waiting:
        for before in jobs[k].after:
            if before in behind:
                behind[before].append(k)
    length: dict[int, float] = {}
    # Each after those that wait for it.
    for k in TopologicalSorter(behind).static_order():
        longest = max((length[b] for b in behind[k]), default=0.0)
        length[k] = longest + prices.get(k, _NOTHING).seconds
    ready = [(-length[k], k) for k, n in waiting.items() if n == 0]
    heapq.heapify(ready)
    whole = int(memory) or 1
    machine, now = _Machine(cores, [whole] * gpus, whole, []), 0.0
    while ready or machine.running:
        later = []
        while ready:
            entry = heapq.heappop(ready)
            if not machine.begin(entry[1], prices.get(entry[1], _NOTHING)):
                later.append(entry)
        ready = later  # in order, so a heap
        passed, ended = machine.advance()
        now += passed
        for after in (k for job in ended for k in behind[job]):
            waiting[after] -= 1
            if not waiting[after]:
                heapq.heappush(ready, (-length[after], after))
    return now
