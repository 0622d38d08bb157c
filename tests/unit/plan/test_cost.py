"""Memory and time of the cost model, against what was measured (docs/benchmarks.md)."""

from types import SimpleNamespace

import numpy as np
import pytest

from nashlens.models.shapes import SHAPES
from nashlens.plan.clock import wall_clock
from nashlens.plan.devices import (
    CPU,
    DEVICES,
    GPU_SOLVING,
    H100,
    H200,
    Device,
    model_seconds,
    table,
)
from nashlens.plan.memory import ROOM, held_bytes, row_bytes, unpacked_bytes, weight_bytes
from nashlens.plan.screen import count, plan_text
from nashlens.plan.stages import solving_operations
from nashlens.plan.study import Job
from nashlens.plan.table import Machine, make_plan
from nashlens.plan.work import Work
from nashlens.progress import duration

BF16 = {"dtype": "bfloat16", "quantization": "none"}
NF4 = {"dtype": "bfloat16", "quantization": "nf4"}
FLOAT32 = {"dtype": "float32", "quantization": "none"}


@pytest.mark.parametrize(
    ("shape", "model", "held", "measured"),
    [
        ("llama-3-70b", NF4, 3681, 45.5),
        ("qwen2.5-72b", NF4, 3681, 47.2),
        # On two GPUs.
        ("llama-3-70b", BF16, 3681, 2 * 73.8),
    ],
)
def test_memory_is_within_15_percent_of_what_was_measured(shape, model, held, measured):
    size = SHAPES[shape], model, True
    whole = weight_bytes(*size) + unpacked_bytes(*size)
    found = (whole + row_bytes(*size, 3681) + held_bytes(*size, ROOM * held)) / 1e9
    assert found == pytest.approx(measured, rel=0.15)


def test_a_models_weights_are_counted_by_precision():
    shape = SHAPES["llama-3-8b"]
    assert weight_bytes(shape, BF16, True) == pytest.approx(2 * 8.03e9, rel=0.001)
    assert weight_bytes(shape, FLOAT32, False) == 2 * weight_bytes(shape, BF16, True)
    # The embedding and the unembedding stay.
    ends = 2 * 128256 * 4096 * 2
    assert weight_bytes(shape, NF4, True) == pytest.approx(ends + 6.98e9 * 0.52, rel=0.001)


@pytest.mark.parametrize(
    ("device", "work", "seconds"),
    [
        (H100, Work(rows=9141 * 32), 0.214),
        (H100, Work(growing=39170 * 32), 2.67),
        (H100, Work(forks=38630 * 32), 1.63),
        # 128 texts of 256 tokens after prompts of 13,620 tokens in all; keys and values 7.2 GB.
        (H100, Work(rows=13620 * 32, written=128 * 256, steps=256), 2.88),
        (H200, Work(rows=9141 * 32), 0.319),
        (H200, Work(growing=39170 * 32), 3.25),
        (H200, Work(forks=38630 * 32), 1.16),
        # A step alone.
        (H200, Work(written=128, steps=1), 0.00745),
    ],
)
def test_time_at_the_8b_shape_is_within_25_percent(device, work, seconds):
    held = 7.2e9 if work.written else 0.0
    found = model_seconds(work, SHAPES["llama-3-8b"], "bfloat16", DEVICES[device], held)
    assert found == pytest.approx(seconds, rel=0.25)


def test_a_precision_that_a_gpu_was_not_measured_in_has_its_share_from_the_h100():
    shape = SHAPES["llama-3-70b"]
    shares = [
        DEVICES[name].rate(shape, "nf4", "rows") / DEVICES[name].rate(shape, "bfloat16", "rows")
        for name in (H100, H200)
    ]
    assert shares[0] == pytest.approx(shares[1], rel=0.05) != 1.0
    assert [DEVICES[name].borrows("nf4") for name in (H100, H200)] == [False, True]
    assert not DEVICES[H200].borrows("bfloat16")
    assert not Device(CPU, 0.0).borrows("nf4")


@pytest.mark.parametrize(("width", "seconds"), [(4096, 0.11), (8192, 0.32)])
def test_a_gpu_solves_for_a_tuned_lens_in_about_what_was_measured(width, seconds):
    found = solving_operations(1984, width) / GPU_SOLVING
    assert found == pytest.approx(seconds, rel=0.4)


def test_a_shape_that_was_not_measured_goes_by_its_operations():
    big, small = SHAPES["llama-3-70b"], SHAPES["qwen2.5-32b"]
    works = (Work(rows=1000.0 * shape.layers) for shape in (big, small))
    times = [
        model_seconds(work, shape, "nf4", DEVICES[H100], 0.0)
        for work, shape in zip(works, (big, small), strict=True)
    ]
    blocks = [shape.layers * shape.block_parameters() for shape in (big, small)]
    assert times[0] / times[1] == pytest.approx(blocks[0] / blocks[1], rel=0.05)
    assert Device(CPU, 0.0).rate(big, "bfloat16", "rows") == Device(CPU, 0.0).rate(
        big, "float32", "rows"
    )


def test_every_measured_line_says_where_it_is_from():
    for line in table():
        assert line.source.startswith("docs/benchmarks.md")
        assert 1e10 < line.rate < 1e15


def test_nothing_to_do_costs_nothing():
    assert wall_clock([Job("x", todo=False)], {}, 1, 0) == 0.0

    study = SimpleNamespace(unknown=[], by_words=[], sampled=False, shapes={})
    study.config = {"models": {"m": {}}, "agents": {}, "matches": {"talk_tokens": 0}}
    study.config["resources"] = {"threads": 1}
    jobs = [Job("fit_probes", ("m",), todo=False), Job("draw_lens", todo=False)]
    plan = make_plan(study, jobs, Machine("here", 2))
    numbers = plan.table.drop(columns=["rule", "subject", "current"])
    assert not np.any(numbers.to_numpy())
    assert (plan.core_hours, plan.gpu_hours, plan.wall_here) == (0.0, 0.0, 0.0)
    assert "nothing to do, all 2 jobs are current" in plan_text(plan, "mine")


def test_numbers_are_short():
    assert [count(n) for n in (0, 950, 12_345, 3_100_000)] == ["-", "950", "12 k", "3.1 M"]
    assert [duration(s) for s in (0, 75, 4000, 400_000)] == ["-", "75 s", "67 min", "111 h"]
