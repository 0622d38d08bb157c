"""Leases of GPU memory: which job runs on which GPU of this machine.

A job states how much memory its models take of a GPU, or how many whole GPUs. Before it touches
one, it takes a lease: an entry in a ledger that all jobs of a user on a machine share. What is
leased of a GPU never exceeds its memory, and a whole GPU is nobody else's. A lease ends with its
process, however that ends: each holds a lock on a file of its own, which the kernel gives up.

Who does not fit waits in a queue. The first to wait also *reserves* what it will get, where nobody
enters any more, so that small jobs that come later never keep out a large one. Elsewhere they may
overtake it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from nashlens.errors import ConfigError
from nashlens.files import read_sealed, sealed
from nashlens.gpus import Gpu, read_gpus
from nashlens.plan.asks import Ask

log = logging.getLogger(__name__)

VISIBLE = "CUDA_VISIBLE_DEVICES"
POLL = 1.0
"""Seconds between two looks at the ledger."""
PATIENCE = 120.0
"""Seconds that a job waits for memory that no lease is about, such as another program's."""


Places = list[tuple[str, int]]
"""UUID of each share's GPU, with the MB that are taken of it."""


def place(ask: Ask, gpus: Sequence[Gpu], free: Mapping[str, int]) -> Places | None:
    """Choose the GPUs of a job, or None where it does not fit.

    Parameters
    ----------
    ask : Ask
    gpus : sequence of Gpu
        All that the job may see.
    free : mapping of str to int
        MB that are free, of the GPUs that it may take now; a whole one must be free to its total.
    """
    total = {gpu.uuid: gpu.total for gpu in gpus}
    if ask.pins:
        left = dict(free)
        for share, pin in zip(ask.shares, ask.pins, strict=True):
            if pin >= len(gpus) or left.get(gpus[pin].uuid, -1) < share:
                return None
            left[gpus[pin].uuid] -= share
        return [(gpus[pin].uuid, share) for share, pin in zip(ask.shares, ask.pins, strict=True)]
    # The emptiest first, so that jobs spread over the GPUs; the order of equals is the machine's.
    roomy = sorted((u for u in total if u in free), key=lambda u: -free[u])
    if ask.whole:
        empty = [u for u in total if u in roomy and free[u] >= total[u]]
        count = len(gpus) if ask.whole < 0 else ask.whole
        return [(u, total[u]) for u in empty[:count]] if len(empty) >= count else None
    if roomy and sum(ask.shares) <= free[roomy[0]]:
        return [(roomy[0], share) for share in ask.shares]
    if len(roomy) < len(ask.shares):
        return None
    # Each on one of its own, the largest on the emptiest.
    found: dict[int, tuple[str, int]] = {}
    order = sorted(range(len(ask.shares)), key=lambda k: -ask.shares[k])
    for k, name in zip(order, roomy, strict=False):
        if free[name] < ask.shares[k]:
            return None
        found[k] = (name, ask.shares[k])
    return [found[k] for k in range(len(ask.shares))]


def bounded(ask: Ask, gpus: Sequence[Gpu]) -> Ask:
    """Return what a job can get at all: all there is, where it asks for more."""
    total = {gpu.uuid: gpu.total for gpu in gpus}
    if ask.whole:
        return Ask(whole=-1) if not 0 < ask.whole < len(gpus) else ask
    if place(ask, gpus, total) is not None:
        return ask
    if ask.pins and all(pin < len(gpus) for pin in ask.pins):
        # What is too much for a GPU takes all of it, shared in proportion.
        on = {
            p: sum(s for s, q in zip(ask.shares, ask.pins, strict=True) if q == p) for p in ask.pins
        }
        shares = (
            min(s, s * gpus[p].total // on[p]) for s, p in zip(ask.shares, ask.pins, strict=True)
        )
        return Ask(tuple(shares), pins=ask.pins)
    return Ask(whole=min(len(ask.shares), len(gpus)))


class Lease:
    """A place in the queue, and then what is leased.

    Parameters
    ----------
    ask : Ask
    gpus : sequence of Gpu
        That the job may see.
    folder : path
        Of the ledger, which all jobs of a machine share.
    table : callable
        Returns the same GPUs as they are now.
    clock : callable
        Seconds, of whatever beginning.
    """

    def __init__(
        self,
        ask: Ask,
        gpus: Sequence[Gpu],
        folder: Path,
        table: Callable[[], Sequence[Gpu]] = read_gpus,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.folder, self._table, self._clock = folder, table, clock
        self.gpus = list(gpus)
        self.ask = bounded(ask, self.gpus)
        self.places: Places = []
        """Where each share lies, once it is leased."""
        self._token = uuid.uuid4().hex
        self._alone_since: float | None = None
        # Its lock says that the owner lives. Taken before anybody can know of it.
        self._life: TextIO = (folder / f"{self._token}.lock").open("w", encoding="utf-8")
        fcntl.flock(self._life, fcntl.LOCK_EX)

    def take(self) -> bool:
        """Take what is asked for, if it is free now, and say whether it was; else queue for it."""
        now = list(self._table()) or self.gpus
        with self._ledger() as ledger:
            queue, leases = ledger["queue"], ledger["leases"]
            own = next((entry for entry in queue if entry["token"] == self._token), None)
            if own is None:
                own = {"token": self._token, "pid": os.getpid(), "ask": str(self.ask)}
                queue.append(own | {"reserved": [], "settled": False})
                own = queue[-1]
            ahead = queue[: queue.index(own)]
            kept = {name for entry in ahead for name in entry["reserved"]}
            leased = _leased(leases)
            free = {
                gpu.uuid: gpu.total - max(leased.get(gpu.uuid, 0), _foreign(gpu, leased))
                for gpu in now
                if gpu.uuid not in kept
            }
            found = place(self.ask, now, free)
            if found is None and self._waited_enough(own["reserved"], leased):
                empty = {gpu.uuid: gpu.total for gpu in now if gpu.uuid in own["reserved"]}
                found = place(self.ask, now, empty)
            if found is None:
                if not own["settled"]:
                    own["reserved"], own["settled"] = self._reserve(now, free)
                return False
            queue.remove(own)
            leases[self._token] = {"pid": os.getpid(), "places": found}
        self.places = found
        return True

    def _reserve(self, gpus: Sequence[Gpu], free: Mapping[str, int]) -> tuple[list[str], bool]:
        """Return the GPUs that it will fit on, once all others have left them: the emptiest.

        Where those that nobody has reserved are too few, it is all that it may take, and not
        settled: those behind it keep out, whatever becomes of those before it.
        """
        order = sorted((gpu for gpu in gpus if gpu.uuid in free), key=lambda gpu: -free[gpu.uuid])
        for number in range(1, len(order) + 1):
            found = place(self.ask, gpus, {gpu.uuid: gpu.total for gpu in order[:number]})
            if found is not None:
                return sorted({name for name, _ in found}), True
        pinned = {gpus[pin].uuid for pin in self.ask.pins if pin < len(gpus)}
        return sorted(pinned or {gpu.uuid for gpu in gpus}), False

    def _waited_enough(self, reserved: Sequence[str], leased: Mapping[str, int]) -> bool:
        """Say whether nothing but other programs has been in the way for long."""
        if not reserved or any(leased.get(name) for name in reserved):
            self._alone_since = None
            return False
        if self._alone_since is None:
            self._alone_since = self._clock()
        return self._clock() - self._alone_since >= PATIENCE

    def owners(self) -> list[int]:
        """List the processes that hold leases now."""
        with self._ledger() as ledger:
            return sorted({lease["pid"] for lease in ledger["leases"].values()})

    def release(self) -> None:
        """Give back what is leased, or the place in the queue."""
        with self._ledger() as ledger:
            ledger["leases"].pop(self._token, None)
            ledger["queue"] = [e for e in ledger["queue"] if e["token"] != self._token]
            self._life.close()
        (self.folder / f"{self._token}.lock").unlink(missing_ok=True)

    @contextlib.contextmanager
    def _ledger(self) -> Iterator[dict[str, Any]]:
        """Lock the ledger; yield it without the dead, and write what has become of it."""
        path = self.folder / "ledger.json"
        with open(self.folder / "ledger.lock", "a", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            found: dict[str, Any] = read_sealed(path) or {"queue": [], "leases": {}}
            before = json.dumps(found)
            for token in [*found["leases"], *(entry["token"] for entry in found["queue"])]:
                if token != self._token and self._dead(token):
                    found["leases"].pop(token, None)
                    found["queue"] = [e for e in found["queue"] if e["token"] != token]
            yield found
            if json.dumps(found) != before:
                new = path.with_suffix(".new")
                new.write_text(sealed(found), encoding="utf-8")
                new.replace(path)

    def _dead(self, token: str) -> bool:
        path = self.folder / f"{token}.lock"
        try:
            with open(path, "r+", encoding="utf-8") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink(missing_ok=True)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True


def _leased(leases: Mapping[str, Any]) -> dict[str, int]:
    found: dict[str, int] = {}
    for lease in leases.values():
        for name, share in lease["places"]:
            found[name] = found.get(name, 0) + share
    return found


def _foreign(gpu: Gpu, leased: Mapping[str, int]) -> int:
    """Return the MB in use, where that is more than an idle GPU's driver has."""
    return gpu.used if gpu.used > leased.get(gpu.uuid, 0) + IDLE else 0


IDLE = 1000
"""MB that a driver or a desktop may have of a GPU without being in anybody's way."""


def scheduled_mb(ask: Ask, gpus: Sequence[Gpu]) -> int:
    """Return the MB of all GPUs together that a job counts for, where jobs are chosen by their sum.

    As no job's share is on two GPUs, what remains of one cannot always be used: a job of 50 of 80
    GB counts for 80, since the next one like it needs another GPU.

    Parameters
    ----------
    ask : Ask
    gpus : sequence of Gpu
        At least one.
    """
    ask, total = bounded(ask, gpus), max(gpu.total for gpu in gpus)
    if ask.whole:
        return sum(gpu.total for gpu in gpus[: ask.whole if ask.whole > 0 else None])
    together = sum(ask.shares) <= total and len(set(ask.pins)) < 2
    shares = [sum(ask.shares)] if together else ask.shares
    return sum(total // max(1, total // max(1, share)) for share in shares)


def machine_folder() -> Path:
    """Return the folder of this user's ledger on this machine; made where it is not there."""
    folder = Path(tempfile.gettempdir()) / f"nashlens-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise ConfigError(
            [f"{folder}: it belongs to another user: set TMPDIR to a folder of yours"]
        )
    return folder


@contextlib.contextmanager
def leased(text: str | None) -> Iterator[list[Gpu]]:
    """Hold what a job asks for of this machine's GPUs, once it is free, and let it see these alone.

    Parameters
    ----------
    text : str or None
        As `Ask.parse` reads it; nothing is leased for a job that asks for none, or where there is
        no GPU that the driver tells about.

    Yields
    ------
    list of Gpu
        In the order in which the job sees them.
    """
    gpus = read_gpus() if text else []
    if not text or not gpus:
        yield []
        return
    lease = Lease(Ask.parse(text), gpus, machine_folder())
    seen = os.environ.get(VISIBLE)
    try:
        _wait(lease)
        names = list(dict.fromkeys(name for name, _ in lease.places))
        known = {gpu.uuid: gpu for gpu in lease.gpus}
        told = ", ".join(f"{share:,} MB of {known[name].name}" for name, share in lease.places)
        log.info("leased %s", told)
        # A model that names its GPU counts among all of them.
        if not lease.ask.pins and names != [gpu.uuid for gpu in lease.gpus]:
            os.environ[VISIBLE] = ",".join(known[name].name for name in names)
        yield [known[name] for name in names]
    finally:
        lease.release()
        if seen is None:
            os.environ.pop(VISIBLE, None)
        else:
            os.environ[VISIBLE] = seen


def _wait(lease: Lease) -> None:
    said = False
    while not lease.take():
        if not said:
            owners = ", ".join(map(str, lease.owners())) or "none of this workflow"
            log.info("waits for a GPU: asks for %s MB; processes on them: %s", lease.ask, owners)
            said = True
        time.sleep(POLL)
