"""What a script's `main` is given."""

import pytest
from snakemake.iocontainers import (
    InputFiles,
    Log,
    OutputFiles,
    Params,
    ResourceList,
    Snakemake,
    Wildcards,
)

import workflow.job
from workflow.job import run_job


@pytest.fixture
def job(monkeypatch):
    """A job as Snakemake describes it to a script."""
    monkeypatch.setattr(workflow.job, "start_logging", lambda path: None)
    return Snakemake(
        InputFiles(fromdict={"prompts": "prompts.parquet", "lens": "lens.parquet"}),
        OutputFiles(fromdict={"table": "table.parquet"}),
        Params(fromdict={"config": {"seed": 1}, "model": "of params", "fingerprint": "f"}),
        Wildcards(fromdict={"model": "of wildcards", "part": "1"}),
        2,
        ResourceList(fromdict={"batch_tokens": 512}),
        Log(["a.log"]),
        {},
        "fit",
        None,
    )


def test_main_gets_what_its_parameters_name_in_any_order(job):
    given = {}

    def main(threads, outputs, inputs, part, fingerprint, batch_tokens, log, config):
        given.update(locals())

    run_job(main, job)
    assert {name: value for name, value in given.items() if name != "given"} == {
        "inputs": {"prompts": "prompts.parquet", "lens": "lens.parquet"},
        "outputs": {"table": "table.parquet"},
        "config": {"seed": 1},
        "fingerprint": "f",
        "part": "1",
        "threads": 2,
        "batch_tokens": 512,
        "log": "a.log",
    }


def test_a_name_that_nothing_has_or_two_have_is_refused(job):
    with pytest.raises(TypeError, match="fit: tokens is given 0 times"):
        run_job(lambda tokens: None, job)
    with pytest.raises(TypeError, match="fit: model is given 2 times"):
        run_job(lambda model: None, job)
