"""A small experiment on a cluster, whose jobs can be kept in the middle of their work."""

import contextlib
import subprocess
import sys
import time

import pandas as pd
import yaml

from tests.cluster.slurm import QUICK
from workflow.slurm import LEDGER

MINI = {
    "experiment": {"name": "mini"},
    "models": {"tiny_qwen": None},
    "agents": {"tiny_qwen": None, "tiny_cot": None, "tiny_notes": None},
    "resources": {"model_mem_mb": 1500, "light_mem_mb": 1000},
}
TABLE = "results/mini/tuned_lens/tiny_llama.parquet"
LOG = "results/mini/logs/fit_tuned_lens/tiny_llama.log"
# No result depends on how progress is shown, so this changes no fingerprint.
HOLD = """

def _hold(done):
    import os

    if done >= 2:
        open("held", "a").close()
        held = True
        while held:
            held = os.path.exists("hold")
            if os.path.exists("eat") and not _eaten:
                _eaten.append(b"x" * int(open("eat").read()))
            time.sleep(0.05 if held else 0)


_eaten = []
"""


def make_mini(workspace):
    """Make a copy of the repository one of this experiment, in which jobs can be held."""
    (workspace.folder / "mini.yaml").write_text(yaml.safe_dump(MINI))
    progress = workspace.folder / "src/nashlens/progress.py"
    text = progress.read_text()
    loop = "    for done, item in enumerate(items):\n"
    assert loop in text
    progress.write_text(text.replace(loop, f"{loop}        _hold(done)\n") + HOLD)


class Mini:
    """The experiment's folder, and what SLURM has done of it."""

    def __init__(self, workspace, cluster):
        self.workspace, self.cluster, self.folder = workspace, cluster, workspace.folder
        self.table = pd.read_parquet(self.folder / TABLE)
        self.calls = []
        self.before = set()

    def reset(self):
        """Delete the table, and note the jobs that were there before."""
        (self.folder / TABLE).unlink(missing_ok=True)
        for name in ("hold", "held", "eat", LEDGER):
            (self.folder / name).unlink(missing_ok=True)
        self.before = {job["JobId"] for job in self.cluster.jobs()}
        self.said = ""

    def start(self, *args, config=None):
        """Call Snakemake in the background."""
        overlays = ["experiments/tiny.yaml", "mini.yaml"]
        if config is not None:
            (self.folder / "overlay.yaml").write_text(yaml.safe_dump(config))
            overlays.append("overlay.yaml")
        command = ["--profile", "slurm", *QUICK, TABLE, *args, "--configfile", *overlays]
        clean = {k: v for k, v in self.cluster.environment.items() if k != "PYTHONPATH"}
        with open(self.folder / "said", "wb") as out:
            call = subprocess.Popen(
                [sys.executable, "-m", "snakemake", *command],
                cwd=self.folder,
                env=clean,
                stdout=out,
                stderr=out,
            )
        self.calls.append(call)
        return call

    def end(self, call, status=0, seconds=600):
        """Wait for a call's end; return what it said."""
        found = call.wait(seconds)
        said = (self.folder / "said").read_text()
        assert found == status, said[-5000:]
        return said

    def run(self, *args, status=0, config=None):
        return self.end(self.start(*args, config=config), status)

    @contextlib.contextmanager
    def held(self, *args, config=None):
        """Start a call, and keep its job in the middle of its work."""
        (self.folder / "hold").touch()
        call = self.start(*args, config=config)
        self.wait_held(call)
        try:
            yield call
        finally:
            (self.folder / "hold").unlink(missing_ok=True)

    def wait_held(self, call=None):
        wait(lambda: (self.folder / "held").exists() or (call and call.poll() is not None))
        assert (self.folder / "held").exists(), (self.folder / "said").read_text()[-4000:]

    def jobs(self):
        """List what was submitted since the last reset, the earliest first."""
        jobs = [job for job in self.cluster.jobs() if job["JobId"] not in self.before]
        return sorted(jobs, key=lambda job: int(job["JobId"]))

    def states(self):
        return [job["JobState"] for job in self.jobs()]

    def check(self):
        """The table is that of the undisturbed run, and nothing unfinished is left."""
        pd.testing.assert_frame_equal(pd.read_parquet(self.folder / TABLE), self.table)
        assert not (self.folder / "results/mini/tuned_lens/.unfinished").exists()

    def unlock(self):
        """What a killed Snakemake leaves locked, as a user unlocks it."""
        done = self.workspace.snakemake("--unlock", config=MINI)
        assert done.returncode == 0, done.stderr[-2000:]

    def went_on(self):
        """Say whether the last job took over what an earlier one had finished."""
        return "of an earlier run of this job are taken over" in (self.folder / LOG).read_text()


def wait(ready, seconds=300):
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.1)


def memory(job):
    """Return the MB that a job asked for."""
    amount = job["TRES"].split("mem=")[1].split(",")[0]
    return int(float(amount[:-1]) * (1024 if amount[-1] == "G" else 1))
