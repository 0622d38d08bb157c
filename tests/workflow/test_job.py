"""What a script's `main` is given, and how it ends."""

import signal
import sys
import time

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
from nashlens.disk import DiskError
from nashlens.errors import ModelError, StoppedError, StoreError
from nashlens.files import atomic_write, sha256_of
from workflow.claims import REMOTE, RUN, Claim
from workflow.job import run_job
from workflow.records import check_inputs, read_record, record_file


@pytest.fixture
def job(monkeypatch, tmp_path):
    """A job as Snakemake describes it to a script."""
    monkeypatch.chdir(tmp_path)
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


class Doomed:
    """SIGTERM comes in its destructor, where Python drops what is raised."""

    def __del__(self):
        signal.raise_signal(signal.SIGTERM)


def test_a_sigterm_that_comes_in_a_destructor_ends_the_job_too(job):
    def main(threads):
        Doomed()
        time.sleep(20)
        raise AssertionError("it went on")

    hooks = (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGALRM), sys.unraisablehook)
    with pytest.raises(StoppedError, match="what was finished is kept"):
        run_job(main, job)
    assert hooks == (
        *map(signal.getsignal, (signal.SIGTERM, signal.SIGALRM)), sys.unraisablehook
    )  # fmt: skip


OUTPUT = "results/e/table.parquet"


@pytest.fixture
def making(job, tmp_path):
    """Return a job that writes its output as a `main` does."""
    job.output = OutputFiles(fromdict={"table": OUTPUT})

    def main(outputs):
        with atomic_write(outputs["table"]) as file:
            file.write(b"mine")

    return job, main, tmp_path / OUTPUT


def test_a_job_writes_down_what_its_outputs_were_made_from(making):
    job, main, table = making
    run_job(main, job)
    record = read_record(OUTPUT)
    assert record["fingerprint"] == "f"
    assert record["sha256"] == sha256_of(table)
    assert record["device"] == "cpu"
    assert not list(table.parent.rglob("*.claim"))


def test_a_job_that_another_has_superseded_replaces_nothing(making, monkeypatch):
    job, main, table = making

    def superseded(outputs):
        # A later call of Snakemake makes the same output, and ends first.
        with monkeypatch.context() as later:
            later.setenv(RUN, "2")
            with Claim(OUTPUT):
                table.write_bytes(b"newer")
        main(outputs)

    monkeypatch.setenv(RUN, "1")
    with pytest.raises(StoreError, match="a job that started later makes it"):
        run_job(superseded, job)
    assert table.read_bytes() == b"newer"
    assert read_record(OUTPUT) == {}
    assert [path.name for path in table.parent.iterdir() if path.is_file()] == ["table.parquet"]


def test_a_job_that_waited_until_a_later_call_had_made_its_output_does_not_start(
    making, monkeypatch
):
    job, main, table = making
    monkeypatch.setenv(RUN, "2")
    run_job(main, job)
    monkeypatch.setenv(RUN, "1")
    with pytest.raises(StoreError, match="a job that started later makes it"):
        run_job(lambda: table.unlink(), job)
    assert table.exists()


def test_a_call_from_the_future_had_a_wrong_clock_and_is_replaced(making, monkeypatch):
    job, main, _ = making
    monkeypatch.setenv(RUN, str(9 * 10**18))
    run_job(main, job)
    monkeypatch.delenv(RUN)
    run_job(main, job)
    assert read_record(OUTPUT)["run"] < 9 * 10**18


def test_a_damaged_input_is_named_before_it_is_read(making):
    job, main, table = making
    run_job(main, job)
    table.write_bytes(b"mime")
    with pytest.raises(StoreError, match=r"table.parquet: its bytes are not those .* same command"):
        check_inputs([OUTPUT], OUTPUT)


@pytest.mark.parametrize(
    ("resources", "device", "remote", "refused"),
    [
        ({"gpu": 1}, "auto", True, "fit asked for 1 GPU, and on "),
        ({"gres": "gpu:2"}, "cuda", True, "fit asked for 2 GPUs, and on "),
        ({"gpu": 1}, "cpu", True, None),
        ({}, "auto", True, None),
        # A user's own machine may have none.
        ({"gpu": 1}, "auto", False, None),
    ],
)
def test_a_node_without_the_gpus_that_a_job_asked_for(
    job, monkeypatch, resources, device, remote, refused
):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.delenv(REMOTE, raising=False)
    if remote:
        monkeypatch.setenv(REMOTE, "1")
    job.resources = ResourceList(fromdict=resources)
    job.params.config["models"] = {"m": {"device": device}}
    if refused:
        with pytest.raises(ModelError, match=refused):
            run_job(lambda: None, job)
    else:
        run_job(lambda: None, job)


def test_a_job_says_what_it_took_against_what_it_asked_for(making, caplog):
    job, main, _ = making
    caplog.set_level("INFO")
    job.resources = ResourceList(fromdict={"batch_tokens": 512, "mem_mb": 10**6})
    run_job(main, job)
    found = read_record(OUTPUT)["memory_mb"]
    assert 20 < found["taken"] < found["asked"] == 10**6
    job.resources = ResourceList(fromdict={"batch_tokens": 512, "mem_mb": 10})
    run_job(main, job)
    few, many = ([r for r in caplog.records if r.levelname == n] for n in ("INFO", "WARNING"))
    assert "MB taken, 1000000 MB asked for" in few[-1].getMessage()
    assert "10 MB asked for; a scheduler may end such a job: raise its mem_mb" in (
        many[-1].getMessage()
    )


def test_a_job_whose_folder_disappears_names_it_and_the_next_one_goes_on(making, tmp_path):
    job, main, table = making

    def lost(outputs):
        (tmp_path / "results").rename(tmp_path / "away")
        (tmp_path / "results").symlink_to(tmp_path / "unmounted")
        main(outputs)

    with pytest.raises(DiskError, match=r"table.parquet: its folder is gone: .* same command"):
        run_job(lost, job)
    (tmp_path / "results").unlink()
    (tmp_path / "away").rename(tmp_path / "results")
    run_job(main, job)
    assert read_record(OUTPUT)["sha256"] == sha256_of(table)


def test_an_error_of_the_disk_that_a_library_words_is_worded_by_us(making):
    job, _, _ = making

    def full(outputs):
        raise RuntimeError("I/O error: No space left on device (os error 28)")

    with pytest.raises(
        DiskError, match=r"table.parquet: No space left on device: make room"
    ) as caught:
        run_job(full, job)
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_what_a_killed_job_has_left_of_its_outputs_is_cleared(making):
    job, main, table = making
    record = record_file(OUTPUT)
    left = [path.with_name(f"{path.name}.77.tmp") for path in (table, record)]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half")
    run_job(main, job)
    assert not any(path.exists() for path in left)
