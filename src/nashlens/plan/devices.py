"""How fast devices compute: a small table of what was measured, and what follows from it."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources

from nashlens.models.shapes import SHAPES, Shape
from nashlens.plan.work import Work

CPU, H100, H200 = "cpu core", "H100 80GB", "H200 141GB"
CPU_PRODUCTS = 1.0e11
"""Operations a second of one core in large products, where a lens or a probe is computed."""
CPU_START, GPU_START, COMPILED_START = 1.6, 7.0, 22.0
"""Seconds until a job computes, by itself: imports, the model, and of a large one its blocks'
compilation."""
GPU_PRODUCTS = 2.0e13
"""Operations a second of a GPU in float32, where a lens is read."""
GPU_SOLVING = 2.2e12
"""Operations a second of a GPU in float64, where a tuned lens is solved for: what goes to the host
and back included. A layer of width 4,096 took 0.11 s on an H200, and one of 8,192 0.32."""
LAUNCH = 7.5e-5
"""Seconds that a block takes at least in a step of generation, however small it is."""


@dataclass(frozen=True)
class Measured:
    """One line of the table."""

    device: str
    shape: str
    precision: str
    kind: str
    """rows, growing, forks or written (see `work.Work`)."""
    rate: float
    """Operations a second, of all devices together."""
    devices: int
    source: str
    """Where the figure is from."""


@cache
def table() -> tuple[Measured, ...]:
    """Return the table of measured throughputs, `throughput.csv`."""
    file = resources.files("nashlens.plan").joinpath("throughput.csv")
    lines = file.read_text(encoding="utf-8").splitlines()
    return tuple(
        Measured(
            row["device"],
            row["shape"],
            row["precision"],
            row["kind"],
            float(row["tokens"]) / float(row["seconds"]) * token_operations(SHAPES[row["shape"]]),
            int(row["devices"]),
            row["source"],
        )
        for row in csv.DictReader(lines)
    )


def token_operations(shape: Shape) -> float:
    """Return the operations of one token through all blocks."""
    return 2.0 * shape.layers * shape.block_parameters()


@dataclass(frozen=True)
class Device:
    """A device that models run on.

    Attributes
    ----------
    name : str
    memory : float
        Bytes; of a CPU, those of its host.
    bandwidth : float
        Bytes a second, where generation waits for memory; 0 where the table has its rate.
    speed : float
        Its speed over that of the device that was measured.
    step : float
        Time of a step of generation over that of reading weights, keys and values once.
    like : str
        The device of the table of throughputs that it counts as; empty where that is its name.
    cores : float
        Speed of a core of its host, beside other jobs of a study, over that of the one that was
        measured.
    """

    name: str
    memory: float
    bandwidth: float = 0.0
    speed: float = 1.0
    step: float = 1.36
    like: str = ""
    cores: float = 1.0

    @property
    def gpu(self) -> bool:
        """Whether it is a GPU."""
        return self.name != CPU

    @property
    def _measured(self) -> str:
        """Its name in the table."""
        return self.like or self.name

    def faster(self, speed: float) -> Device:
        """Return the same at another speed."""
        return replace(self, speed=speed)

    def rate(self, shape: Shape, precision: str, kind: str) -> float:
        """Return operations a second: of the shape that is nearest among those measured.

        Where a kind was not measured in a precision, its share of `rows` is that of another one.
        """
        mine = [line for line in table() if line.device == self._measured and line.devices == 1]

        def nearest(lines: list[Measured]) -> Measured:
            size = shape.parameters()
            return min(lines, key=lambda one: abs(SHAPES[one.shape].parameters() / size - 1.0))

        exact = [line for line in mine if (line.precision, line.kind) == (precision, kind)]
        if exact:
            return nearest(exact).rate * self.speed
        alike = [line for line in mine if line.kind == kind]
        chosen = nearest(alike or mine)
        return chosen.rate * self._precision(shape, precision, chosen.precision) * self.speed

    def _precision(self, shape: Shape, wanted: str, measured: str) -> float:
        """Return how much faster rows are in one precision than in another, of those measured."""
        wanted = "nf4" if wanted == "int8" else wanted
        for device in (self._measured, H100) if self.gpu else (self._measured,):
            rates = {
                line.precision: line.rate
                for line in table()
                if line.device == device and line.kind == "rows" and line.devices == 1
            }
            if wanted in rates and measured in rates:
                return rates[wanted] / rates[measured]
        # Of a GPU without its half-precision units; on a CPU half precision gains nothing.
        return 0.06 if self.gpu and wanted == "float32" else 1.0

    def borrows(self, precision: str) -> bool:
        """Say whether a precision was measured on the H100 alone, which then gives its share."""
        wanted = "nf4" if precision == "int8" else precision

        def measured(device: str) -> bool:
            return any(line.device == device and line.precision == wanted for line in table())

        return self.gpu and measured(H100) and not measured(self._measured)


HOST_CORES = 0.55
"""Speed of a core beside a GPU over that of a quiet one of a CPU machine, in what is mostly Python:
probes, figures, tables, starts. Measured beside an H200; docs/benchmarks.md, What `plan` says."""
DEVICES = {
    H100: Device(H100, 80e9, bandwidth=3.01e12, cores=HOST_CORES),
    # 15.0 and 7.2 GB in the floor of a step, 5.21 ms.
    H200: Device(H200, 141e9, bandwidth=4.26e12, step=1.43, cores=HOST_CORES),
}
"""GPUs of the table. Bandwidth and step: docs/benchmarks.md, One H100 80GB HBM3, and The most that
is left to win, on one H200."""
KINDS = {"NVIDIA H100 80GB HBM3": H100, "NVIDIA H200": H200}
"""What the driver calls the GPUs of the table."""


def gpu_like_the_tables(kinds: Sequence[str], memory: float) -> Device:
    """Return GPUs of some machine, as fast as the table's unless they are measured.

    Parameters
    ----------
    kinds : sequence of str
        What the driver calls them; none where it says nothing.
    memory : float
        Bytes of the smallest; 0 where that is not known.
    """
    known = {KINDS.get(kind, "") for kind in kinds}
    if len(known) == 1 and "" not in known:
        return DEVICES[known.pop()]
    name = " and ".join(dict.fromkeys(kinds)) or "GPU of unknown kind"
    return replace(DEVICES[H100], name=name, memory=memory, like=H100)


UNPACKED = 4.5
"""Bytes moved for each quantised weight in a product: read, written unpacked, and read again."""


def model_seconds(
    work: Work, shape: Shape, precision: str, device: Device, bytes_held: float, devices: int = 1
) -> float:
    """Return the seconds that a model's part of a job takes on a device, its start left out.

    Parameters
    ----------
    work : Work
    shape : Shape
    precision : str
    device : Device
    bytes_held : float
        Bytes of the keys and values that generation reads in each step, on average.
    devices : int
        GPUs that its layers are spread over: rows are then no faster, one waits for the other.
    """
    seconds = sum(
        passes / shape.layers * token_operations(shape) / device.rate(shape, precision, kind)
        for kind, passes in (("rows", work.rows), ("growing", work.growing), ("forks", work.forks))
        if passes
    )
    if not work.written:
        return seconds
    if not device.bandwidth:
        rate = device.rate(shape, precision, "written")
        return seconds + work.written * token_operations(shape) / rate
    read = _step_seconds(shape, precision, device, bytes_held)
    return seconds + work.steps * max(read, shape.layers * LAUNCH)


def launch_seconds(
    work: Work, shape: Shape, precision: str, device: Device, bytes_held: float
) -> float:
    """Return those of `model_seconds` in which a GPU waits for a small model's next launch."""
    if not (work.written and device.bandwidth):
        return 0.0
    read = _step_seconds(shape, precision, device, bytes_held)
    return work.steps * max(0.0, shape.layers * LAUNCH - read)


def _step_seconds(shape: Shape, precision: str, device: Device, bytes_held: float) -> float:
    """Return the seconds of a step of generation that waits for a GPU's memory."""
    size = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0}.get(precision, UNPACKED)
    blocks = shape.layers * shape.block_parameters() * size
    ends = shape.vocab * shape.width * (4.0 if precision == "float32" else 2.0)
    return device.step * (blocks + ends + bytes_held) / (device.bandwidth * device.speed)
