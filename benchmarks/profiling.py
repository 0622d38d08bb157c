"""Where the time of one call goes, for `--profile`."""

from __future__ import annotations

import re
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.common import clock

KINDS = {
    "matrix products": r"gemm|nvjet|cutlass|xmma|cublas|aten::(add)?(mm|bmm|linear)",
    "attention": r"attention|attend|flash|fmha",
    "sums across GPUs": r"nccl",
    "elementwise": r"triton_(poi|red|per)|elementwise|reduce_kernel|softmax",
    "copies": r"memcpy|memset|copy|index|gather|scatter|cat\b|catarray",
}
"""Kernels by their names, in any case of letters; the first that fits. All else has its name."""
LONGEST = 10


def add_option(parser: ArgumentParser) -> None:
    parser.add_argument("--profile", action="store_true", help="run ours once more, profiled")


def kind(name: str) -> str:
    """Return what a kernel does, or its shortened name where no kind fits."""
    for known, pattern in KINDS.items():
        if re.search(pattern, name, re.IGNORECASE):
            return known
    return name[:60]


def covered(intervals: Iterable[tuple[float, float]]) -> float:
    """Return the length of the union of intervals."""
    total, end = 0.0, float("-inf")
    for start, stop in sorted(intervals):
        total += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return total


def profiled(work: Callable[[], Any], options: Namespace) -> dict[str, float] | None:
    """Call once more under the profiler and return where its seconds went; None if not asked.

    Returns
    -------
    dict of str to float or None
        `call`, the seconds of the call; `busy` and a GPU, those in which it ran some kernel;
        then the seconds of kernels by kind, the longest first, of all GPUs together. A CPU's
        kernels are its operators, less the operators that they call.
    """
    if not options.profile:
        return None
    cuda = options.device == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if cuda else ProfilerActivity.CPU]) as found:
        seconds, _ = clock(work, options.device)
    spent: Counter[str] = Counter()
    kernels: dict[str, list[tuple[float, float]]] = {}
    for event in found.events():
        if cuda and event.device_type == DeviceType.CUDA:
            spent[kind(event.name)] += event.time_range.elapsed_us() / 1e6
            ran = (event.time_range.start, event.time_range.end)
            kernels.setdefault(f"cuda:{event.device_index}", []).append(ran)
        elif not cuda:
            spent[kind(event.name)] += event.self_cpu_time_total / 1e6
    longest = {name: round(value, 6) for name, value in spent.most_common(LONGEST)}
    busy = {f"busy {device}": round(covered(ran) / 1e6, 6) for device, ran in kernels.items()}
    return {"call": round(seconds, 6), **busy, **longest}
