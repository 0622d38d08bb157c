"""How fast this machine is, beside the ones of the table: large products, for half a minute."""

from __future__ import annotations

import time

import torch

CPU_REFERENCE = 1.25e11
"""Operations a second of one quiet core of the table's machine, in these products, float32."""
GPU_REFERENCE = 7.7e14
"""Of its GPU, bfloat16; docs/benchmarks.md, One H100 80GB HBM3 (0.76 to 0.79 PFLOP/s)."""
SECONDS = 30.0


def core_speed(seconds: float = SECONDS) -> float:
    """Return the speed of one core here, over that of the table's.

    Its own CPU time counts, so that other work on the machine does not.

    Parameters
    ----------
    seconds : float
        How long to measure.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        # A row through an MLP of the table's model.
        x, weight = torch.randn(2048, 576), torch.randn(576, 1536)
        done, end, began = 0, time.monotonic() + seconds, time.process_time()
        while time.monotonic() < end:
            x @ weight
            done += 1
        return done * 2.0 * 2048 * 576 * 1536 / (time.process_time() - began) / CPU_REFERENCE
    finally:
        torch.set_num_threads(threads)


def gpu_speed(seconds: float = SECONDS) -> float:
    """Return the speed of the first GPU here, over that of the table's."""
    x = torch.randn(8192, 8192, dtype=torch.bfloat16, device="cuda")
    torch.cuda.synchronize()
    done, began = 0, time.monotonic()
    while time.monotonic() - began < seconds:
        for _ in range(10):
            x @ x
        torch.cuda.synchronize()
        done += 10
    return done * 2.0 * 8192**3 / (time.monotonic() - began) / GPU_REFERENCE
