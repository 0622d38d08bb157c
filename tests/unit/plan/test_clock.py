"""How long jobs take side by side: by hand where they share a GPU, by its bounds elsewhere."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nashlens.plan.clock import wall_clock
from nashlens.plan.price import Price
from nashlens.plan.study import Job

GB = 10**9


def on_gpu(host: float, kernels: float, *, gb: float = 20, gpus: int = 1) -> Price:
    """Price a job that works on the host first, and then on its GPUs, of which it keeps so much."""
    seconds = host + kernels
    return Price(
        gpu_seconds=seconds, kernels=kernels, core_seconds=seconds, leased=gb * GB, gpus=gpus
    )


def seconds(*prices: Price, after: dict[int, tuple[int, ...]] | None = None, **machine) -> float:
    jobs = [Job("x", after=(after or {}).get(k, ())) for k in range(len(prices))]
    return wall_clock(jobs, dict(enumerate(prices)), **{"cores": 16, "gpus": 1, **machine})


def test_two_jobs_start_side_by_side_and_then_share_the_gpu():
    two = on_gpu(10, 20), on_gpu(10, 20)
    assert seconds(two[0], memory=80 * GB) == 30
    assert seconds(*two, memory=80 * GB) == 10 + 2 * 20
    # Each has a GPU of its own.
    assert seconds(*two, gpus=2, memory=80 * GB) == 30
    # They take turns where both do not fit, where no one knows, and on one core.
    assert seconds(*two, memory=30 * GB) == 60
    assert seconds(*two) == 60
    assert seconds(*two, cores=1, memory=80 * GB) == 60


def test_a_job_is_slowed_only_while_others_compute():
    # Alone from 0 to 10 s, then both at half speed: the first has 10 s left and ends at 30 s, the
    # second has 20, of which 10 are done then, and ends at 40 s.
    assert seconds(on_gpu(0, 20), on_gpu(10, 20), memory=80 * GB) == 40
    # A third one is on the host all the while, and slows no one.
    assert seconds(on_gpu(0, 20), on_gpu(10, 20), on_gpu(40, 0), memory=80 * GB) == 40
    # A job that waits for the first joins the second: 30 s, then 10 s to share and 10 alone.
    three = on_gpu(0, 20), on_gpu(10, 20), on_gpu(0, 20)
    assert seconds(*three, after={2: (0,)}, memory=80 * GB) == 30 + 2 * 10 + 10


def test_a_job_over_two_gpus_goes_as_fast_as_the_one_that_more_share():
    spread = on_gpu(0, 10, gb=40, gpus=2)
    assert seconds(spread, gpus=2, memory=80 * GB) == 10
    # The other job is on one of the two: both at half speed until the spread one's end.
    assert seconds(spread, on_gpu(0, 15), gpus=2, memory=80 * GB) == 20 + 5
    whole = Price(gpu_seconds=10, kernels=10, gpus=2)
    assert seconds(whole, on_gpu(0, 15), gpus=2, memory=80 * GB) == 10 + 15
    # What asks for more than there is gets all of it.
    assert seconds(on_gpu(0, 10, gb=200), on_gpu(0, 10, gb=1), memory=80 * GB) == 20


JOBS = st.lists(
    st.tuples(
        st.floats(0.1, 100), st.integers(0, 2), st.booleans(), st.floats(0, 1), st.floats(1, 90)
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(JOBS, st.integers(1, 4), st.integers(1, 3), st.sampled_from([0.0, 80.0 * GB]))
def test_the_wall_clock_lies_between_the_longest_chain_and_one_after_another(
    made, cores, gpus, memory
):
    jobs = [
        Job("x", after=tuple(range(max(0, k - 2), k)) if chained else ())
        for k, (_, _, chained, _, _) in enumerate(made)
    ]
    prices = {
        k: on_gpu(s * (1 - part), s * part, gb=gb, gpus=g) if g else Price(core_seconds=s)
        for k, (s, g, _, part, gb) in enumerate(made)
    }
    found = wall_clock(jobs, prices, cores, gpus, memory)
    chain: list[float] = []
    for job, (seconds, *_) in zip(jobs, made, strict=True):
        chain.append(seconds + max((chain[b] for b in job.after), default=0.0))
    total = sum(seconds for seconds, *_ in made)
    assert max(chain, default=0.0) <= found * (1 + 1e-9)
    assert total / max(1, min(cores, len(made))) <= found * (1 + 1e-9)
    kernels = sum(price.kernels * min(price.gpus, gpus) for price in prices.values())
    assert kernels / gpus <= found * (1 + 1e-9)
    assert found <= total * (1 + 1e-9)
    if cores == 1:
        assert found == pytest.approx(total)
