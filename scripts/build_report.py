"""Rule build_report: Snakemake's own self-contained report of the figures and the findings."""

import os
import subprocess
import sys

from nashlens.errors import DataError
from workflow.job import run_job


def main(outputs, configfiles, settings, log):
    command = [sys.executable, "-m", "snakemake", "--nolock", "--cores", "1"]
    command += ["--report", outputs["page"]]
    command += ["--configfile", *configfiles] if configfiles else []
    command += ["--config", *settings] if settings else []
    # The call that runs this rule holds the lock and has checked the world: this one only reads.
    done = subprocess.run(
        [*command, "--", "figures"],
        env={**os.environ, "NASHLENS_NESTED": "1"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    with open(log, "a", encoding="utf-8") as file:
        file.write(done.stdout)
    if done.returncode:
        raise DataError(
            f"{outputs['page']}: snakemake --report failed with status {done.returncode}"
        )


if "snakemake" in globals():
    run_job(main, snakemake)
