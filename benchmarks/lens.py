"""What a lens does with each logit besides the product, in operations of that product.

    python -m benchmarks.lens                       SmolLM2's unembedding, one core
    python -m benchmarks.lens --shape qwen2.5-0.5b  another one
    python -m benchmarks.lens --device cuda         a GPU

`snakemake plan` prices the lens by these figures (`nashlens.plan.stages`). Times are the least of
several, as others share the machine; on a CPU they are CPU seconds of one thread. The peer is the
same by torch's log_softmax, for one layer's residuals; with it the divergence is compared.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.common import arguments, clock, device_name, matrix_peak, report
from nashlens.lens.vocabulary import Final, Vocabulary
from nashlens.models.shapes import SHAPES
from nashlens.models.weights import Readout

RESIDUALS, REPEATS = 512, 4


def least(work: Callable[[], Any], device: str) -> float:
    """Return the least seconds of several calls."""
    if device == "cuda":
        return min(clock(work, device)[0] for _ in range(REPEATS))
    found = []
    for _ in range(REPEATS):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return min(found)


def peer_divergence(rows: torch.Tensor, last: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """Return the divergence of the last layer's distributions from those of some residuals."""
    own, final = (torch.log_softmax((x @ matrix.T).double(), dim=1) for x in (rows, last))
    return (final.exp() * (final - own)).sum(dim=1)


def main() -> None:
    options = arguments(__doc__.splitlines()[0]).parse_args()
    torch.set_num_threads(1)
    shape = SHAPES[options.shape or "smollm2-135m"]
    n, size = (16, 2000) if options.quick else (RESIDUALS, shape.vocab)
    rng = np.random.default_rng(0)
    matrix = 0.05 * rng.standard_normal((size, shape.width), dtype=np.float32)
    first, last = rng.standard_normal((2, n, shape.width), dtype=np.float32)
    tokens = rng.integers(0, size, (n, 2))
    lens = Vocabulary(Readout(lambda x: x, matrix), options.device)
    hidden, final = lens.normed(first), Final(lens, last)

    def products() -> None:
        for start in range(0, size, lens.block):
            hidden @ lens.rows(slice(start, start + lens.block)).T

    product = least(products, options.device)
    scan = least(lambda: lens.scan(hidden, tokens, final), options.device)
    later = least(lambda: lens.scan(hidden), options.device)
    once = least(lambda: Final(lens, last), options.device)
    there = [torch.as_tensor(x, device=options.device) for x in (first, last, matrix)]
    peer = least(lambda: peer_divergence(*there), options.device)
    error = peer_divergence(*there).cpu().numpy() - lens.scan(hidden, tokens, final).divergence
    each = 2.0 * shape.width / product
    report(
        benchmark="lens",
        device=device_name(options),
        ratio=peer / scan,
        max_error=float(np.abs(error).max()),
        width=shape.width,
        vocabulary=size,
        product_operations_a_second=2.0 * n * size * shape.width / product,
        per_logit=each * (scan - product),
        per_later_logit=each * (later - product),
        per_final_logit=each * (once - 3.0 * product),
        floor_seconds=2.0 * n * size * shape.width / matrix_peak(options.device, torch.float32),
    )


if __name__ == "__main__":
    main()
