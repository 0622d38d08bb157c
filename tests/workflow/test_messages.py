"""What a failed run says, from the records that Snakemake logs."""

import errno
import inspect
import logging
import os
import subprocess
import sys
import threading

import pytest
from snakemake.scheduling import job_scheduler
from snakemake_interface_logger_plugins.common import LogEvent

from nashlens.logs import Shown
from workflow.command import Command
from workflow.messages import _STOPPING, STOPPED, FailedJobs, dry_run, findings, ladder

ERROR = "nashlens: error: no such luck (log: a.log)"


@pytest.fixture
def handler():
    """The handler, on a logger of its own."""
    logger, handler = logging.getLogger("test_messages"), FailedJobs()
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


def start(*logs):
    extra = {"event": LogEvent.JOB_INFO, "log": list(logs)}
    logging.getLogger("test_messages").info("Job", extra=extra)


def fail(jobid, *logs, said=None):
    extra = {"event": LogEvent.JOB_ERROR, "jobid": jobid, "rule_name": "fit", "log": list(logs)}
    extra["rule_msg"] = said
    logging.getLogger("test_messages").error("Error in rule fit", extra=extra)


def finish(jobid):
    extra = {"event": LogEvent.JOB_FINISHED, "job_id": jobid}
    logging.getLogger("test_messages").info("Finished", extra=extra)


def write(folder, name, text):
    path = folder / name
    path.write_text(text)
    return str(path)


def test_a_failed_job_is_named_by_the_last_line_of_its_own_log(handler, tmp_path):
    fail(1, write(tmp_path, "a.log", f"Traceback\n{ERROR}\n"))
    assert handler.lines() == [ERROR]


def test_a_schedulers_log_beside_it_is_another_log(handler, tmp_path):
    """Both once were read as one path, which did not exist."""
    own = write(tmp_path, "a.log", f"{ERROR}\n")
    fail(1, own, write(tmp_path, "slurm.log", "srun: error: task 0: Exited\n"))
    assert handler.lines() == [ERROR]


def test_a_job_ended_from_outside_names_all_its_logs(handler, tmp_path):
    own = write(tmp_path, "a.log", "layer 3 of 30\n")
    theirs = write(tmp_path, "slurm.log", "oom_kill\n")
    fail(1, own, theirs)
    said = "nashlens: error: the job was ended from outside; it last wrote: layer 3 of 30"
    assert handler.lines() == [f"{said} (log: {own}, {theirs})"]


def test_what_a_log_holds_is_shown_and_not_obeyed(handler, tmp_path):
    fail(1, write(tmp_path, "a.log", "a \x1b[2J model\n"))
    (line,) = handler.lines()
    assert "it last wrote: a \\x1b[2J model (log: " in line
    record = logging.LogRecord("a", logging.INFO, "a.py", 1, "a \x1b[2J\n\tmodel", None, None)
    assert Shown().format(record) == "a \\x1b[2J\n\tmodel"


KILLED = "died with <Signals.{}: 9>."
EXIT = "returned non-zero exit status {}."
MEMORY = "it was killed (SIGKILL), mostly because memory ran out: run fewer jobs at once"
ENDS = {
    KILLED.format("SIGKILL"): MEMORY,
    EXIT.format(137): MEMORY,
    KILLED.format("SIGTERM"): "it was ended from outside (SIGTERM): give the same command again",
    EXIT.format(143): "it was ended from outside (SIGTERM): give the same command again",
    KILLED.format("SIGSEGV"): "it crashed (SIGSEGV) in compiled code",
    EXIT.format(134): "it crashed (SIGABRT) in compiled code",
    EXIT.format(3): "it ended with exit status 3",
}
"""How Snakemake says that a job's process ended -> what is said of it."""


def say(text):
    """As Snakemake tells an exception of a rule, right before it says that the job failed."""
    message = f"RuleException:\nCalledProcessError in file \"a.smk\", line 9:\nCommand 'x' {text}"
    logging.getLogger("test_messages").error(message)


@pytest.mark.parametrize(("how", "told"), ENDS.items())
def test_a_signal_is_named_whether_or_not_there_is_a_log(handler, tmp_path, how, told):
    gone = str(tmp_path / "gone.log")
    say(how)
    fail(1, gone)
    (line,) = handler.lines()
    assert line.startswith(f"nashlens: error: fit: {told}")
    assert line.endswith(f"; it wrote no log (log: {gone})")
    own = write(tmp_path, "a.log", "layer 3 of 30\n")
    say(how)
    fail(1, own)
    (line,) = handler.lines()
    assert line.startswith(f"nashlens: error: fit: {told}")
    assert line.endswith(f"; it last wrote: layer 3 of 30 (log: {own})")
    # What a job says itself is what was wrong.
    own = write(tmp_path, "a.log", f"{ERROR}\n")
    say(how)
    fail(1, own)
    assert handler.lines() == [ERROR]


def test_a_signal_is_of_the_job_that_it_ended(handler, tmp_path):
    """Jobs fail side by side, each in a thread of its own."""
    first, second = str(tmp_path / "a.log"), str(tmp_path / "b.log")
    both = threading.Barrier(2)

    def end(jobid, how, log):
        say(how)
        both.wait()
        fail(jobid, log)

    kill = threading.Thread(target=end, args=(1, KILLED.format("SIGKILL"), first))
    kill.start()
    end(2, EXIT.format(1), second)
    kill.join()
    fail(3, str(tmp_path / "c.log"))
    killed, failed, unknown = (handler.failed[jobid] for jobid in (1, 2, 3))
    assert "SIGKILL" in killed
    assert "it ended with exit status 1" in failed
    assert "the job ended before it could write a log" in unknown


def test_a_call_that_its_user_stops_ends_with_no_error(handler, tmp_path):
    def stop():
        logging.getLogger("test_messages").info(f"{_STOPPING}, this might take some time.")

    stop()
    assert handler.lines() == [STOPPED]
    # At Ctrl-C jobs get the signal too, maybe first.
    say(KILLED.format("SIGINT"))
    fail(1, write(tmp_path, "a.log", "layer 3 of 30\n"))
    assert handler.lines() == [STOPPED]
    fail(2, write(tmp_path, "b.log", f"{ENDED}\n"))
    assert handler.lines() == [STOPPED]
    # What was wrong before is still said.
    fail(3, write(tmp_path, "c.log", f"{ERROR}\n"))
    assert handler.lines() == [ERROR, STOPPED]


def test_snakemake_says_that_its_user_stops_it():
    assert _STOPPING in inspect.getsource(job_scheduler)


def test_a_signal_is_named_where_only_the_schedulers_log_knows(handler, tmp_path):
    """On a cluster a job runs Snakemake once more, which says so in SLURM's log."""
    own = write(tmp_path, "a.log", "layer 3 of 30\n")
    theirs = write(tmp_path, "slurm.log", f"Command 'x' {KILLED.format('SIGKILL')}\n")
    fail(1, own, theirs, said=SLURM.format("FAILED"))
    (line,) = handler.lines()
    assert line.startswith("nashlens: error: fit: it was killed (SIGKILL)")
    assert line.endswith(f"; it last wrote: layer 3 of 30 (log: {own}, {theirs})")


@pytest.mark.workflow
@pytest.mark.parametrize(
    ("place", "said"),
    [(None, "; it wrote no log"), ("    games = build_games", "; it last wrote: ")],
)
@pytest.mark.parametrize(
    ("name", "told"), [("SIGKILL", "was killed (SIGKILL)"), ("SIGSEGV", "crashed (SIGSEGV)")]
)
def test_a_job_that_a_signal_ends_is_told_in_the_last_line(fresh, place, said, name, told):
    """Before its log is begun, and after."""
    script = fresh.folder / "scripts/build_games.py"
    end = f"import os, signal; os.kill(os.getpid(), signal.{name})\n"
    text = script.read_text()
    log = "    import logging; logging.warning('begun')\n"
    new = end + text if place is None else text.replace(place, f"{log}    {end}{place}", 1)
    script.write_text(new)
    done = fresh.snakemake("--cores", "1", "games")
    assert done.returncode == 1
    last = done.stderr.rstrip().splitlines()[-1]
    assert last.startswith(f"nashlens: error: build_games: it {told}")
    assert said in last
    assert "(log: results/tiny/logs/build_games.log)" in last


SLURM = "SLURM-job '4' failed, SLURM status is: '{}'. Detailed failure reason unavailable."
ENDED = "nashlens: error: stopped by SIGTERM: what was finished is kept (log: a.log)"


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ("TIMEOUT", "it ran out of time: raise resources.model_runtime"),
        ("OUT_OF_MEMORY", "it ran out of memory: raise resources.model_mem_mb"),
        ("CANCELLED", "it was cancelled (scancel): give the same command again"),
        ("NODE_FAIL", "its node failed: give the same command again"),
    ],
)
def test_what_a_scheduler_did_is_told_with_what_to_do(handler, tmp_path, state, told):
    own = write(tmp_path, "a.log", f"{ENDED}\n")
    fail(1, own, write(tmp_path, "slurm.log", "CANCELLED AT 12:00\n"), said=SLURM.format(state))
    (line,) = handler.lines()
    assert line.startswith(f"nashlens: error: fit: {told}")
    assert "it last wrote: stopped by SIGTERM" in line
    assert own in line


def test_a_job_that_failed_by_itself_says_why_whatever_the_scheduler_calls_it(handler, tmp_path):
    own = write(tmp_path, "a.log", f"{ERROR}\n")
    fail(1, own, write(tmp_path, "slurm.log", ""), said=SLURM.format("FAILED"))
    assert handler.lines() == [ERROR]


def test_memory_is_named_where_only_the_schedulers_log_knows(handler, tmp_path):
    own = write(tmp_path, "a.log", "layer 3 of 30\n")
    theirs = write(tmp_path, "slurm.log", "slurmstepd: error: Exceeded job memory limit\n")
    fail(1, own, theirs, said=SLURM.format("FAILED"))
    assert "fit: it ran out of memory: raise" in handler.lines()[0]
    assert "it last wrote: layer 3 of 30" in handler.lines()[0]


def test_what_a_scheduler_does_not_take_is_told_in_its_words(handler, tmp_path):
    gone = str(tmp_path / "gone.log")
    said = (
        "SLURM sbatch failed. The error message was 'sbatch: error: invalid partition: x'.\n  call"
    )
    fail(1, gone, said=said)
    assert handler.lines() == [
        "nashlens: error: fit: SLURM did not take the job: invalid partition: x"
    ]


def test_a_log_of_an_earlier_try_says_nothing_of_a_job_that_never_started(handler, tmp_path):
    own = write(tmp_path, "a.log", f"{ERROR}\n")
    start(own)
    fail(1, own)
    assert "the job ended before it could write a log" in handler.lines()[0]
    start(own)
    write(tmp_path, "a.log", f"Traceback\n{ERROR}\n")
    fail(1, own)
    assert handler.lines() == [ERROR]


def test_a_job_that_wrote_no_log(handler, tmp_path):
    gone = str(tmp_path / "gone.log")
    fail(1, gone)
    (line,) = handler.lines()
    assert line.endswith(f"the job ended before it could write a log, see above (log: {gone})")


def test_a_full_disk_names_itself_where_no_log_could_be_written(handler, tmp_path, monkeypatch):
    def full(**_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    said = "No space left on device: make room there, and give the same command again"
    fail(1, str(tmp_path / "logs" / "gone.log"))
    assert handler.lines() == [f"nashlens: error: fit: {tmp_path}: {said}"]
    finish(1)
    # Cut off in the middle of a line.
    fail(2, write(tmp_path, "a.log", "2026-01-01 layer 3 o"))
    assert handler.lines() == [f"nashlens: error: fit: {tmp_path}: {said}"]
    finish(2)
    fail(3, write(tmp_path, "b.log", f"{ERROR}\n"))
    assert handler.lines() == [ERROR]


FULL = """
import errno, os, sys
from nashlens.logs import start_logging
start_logging(sys.argv[1])
raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
"""


@pytest.mark.parametrize("log", ["full.log", "file/a.log"])
def test_a_job_whose_log_cannot_be_written_ends_with_the_reason_on_stderr(tmp_path, log):
    (tmp_path / "full.log").symlink_to("/dev/full")
    (tmp_path / "file").touch()
    path = tmp_path / log
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    why = "No space left on device: make room" if log == "full.log" else "File exists: see to it"
    last = done.stderr.splitlines()[-1]
    assert why in last
    assert last.startswith("nashlens: error: ")
    assert last.endswith(f"give the same command again (log: {path})")


def test_a_job_that_succeeded_when_tried_again_did_not_fail(handler, tmp_path):
    log = write(tmp_path, "a.log", f"{ERROR}\n")
    fail(1, log)
    fail(2, log)
    finish(1)
    assert list(handler.failed) == [2]
    finish(2)
    assert handler.lines() == []


LADDER = """claim,model,name,concludes,because,short
M5,smol,published,supported,,24 of 30 layers
M5,smol,controlled,contradicted,,"share of layers 0.00 [0.00, 0.10]"
M6,smol,published,supported,,0.97 at layer 29
M6,smol,+ label map,contradicted,it follows the word,"action part 0.01 [-0.02, 0.04]"
M6,smol,controlled,contradicted,it follows the word,"action part 0.02 [-0.03, 0.07]"
M6,other,published,not_applicable,,
"""
ENDS = (
    "M6 of smol: as published: supported (0.97 at layer 29); controlled: contradicted, it follows"
    " the word (action part 0.02 [-0.03, 0.07])"
)


def test_a_run_ends_with_what_both_protocols_say_of_the_override(tmp_path):
    table = write(tmp_path, "findings.csv", "claim,model,verdict\nM6,smol,contradicted\n")
    said = findings("figures/", table, write(tmp_path, "ladder.csv", LADDER)).splitlines()
    assert said[-4:] == [ENDS, "", "figures:  figures/", f"findings: {table}"]
    none = write(tmp_path, "none.csv", LADDER.splitlines()[0] + "\n")
    assert "published" not in findings("figures/", table, none)
    without = findings("figures/", table, None).splitlines()
    assert without[-2:] == ["figures:  figures/", f"findings: {table}"]


def test_the_ladder_by_itself_ends_with_all_claims(tmp_path):
    said = ladder("figures/", write(tmp_path, "ladder.csv", LADDER)).splitlines()
    assert said[1].startswith("M5 of smol: as published: supported (24 of 30 layers); controlled:")
    assert said[2] == ENDS


def test_a_dry_run_ends_in_ten_lines_at_most():
    command = Command(["mine.yaml"], ['findings={"q_value": 0.1}'])
    stages = ["play"] * 3 + ["games"] + [f"stage_{k}" for k in range(90)]
    text = dry_run(stages, [f"a.key.{k}: {'1' * 24} -> {'2' * 24}" for k in range(9)], command)
    assert text.startswith("\n94 jobs would run (this was a dry run): play 3, games 1, stage_0 1")
    # What is asked is about the experiment that was to run.
    same = """--configfile mine.yaml --config 'findings={"q_value": 0.1}'"""
    assert text.splitlines()[-2].endswith(f"  snakemake --cores 1 plan {same}")
    assert text.splitlines()[-1].endswith(f"  snakemake --cores 1 status {same}")
    assert len(text.splitlines()) <= 10
    assert max(map(len, text.splitlines()[:-2])) <= 100
    assert "1 job would run" in dry_run(["games"], [], Command())
    text = dry_run(["games"], ["games.a.title: A -> B", "code of build_games"], Command())
    assert "what has changed:     games.a.title: A -> B; code of build_games" in text.splitlines()
