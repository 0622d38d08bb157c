"""Rule build_report: Snakemake's own self-contained report of the figures and the findings."""

import os
import subprocess
import sys

from nashlens.errors import DataError
from nashlens.logs import start_logging


def main(output, configfiles, config, log):
    command = [sys.executable, "-m", "snakemake", "--nolock", "--cores", "1", "--report", output]
    command += ["--configfile", *configfiles] if configfiles else []
    command += ["--config", *config] if config else []
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
        raise DataError(f"{output}: snakemake --report failed with status {done.returncode}")


if "snakemake" in globals():
    start_logging(snakemake.log[0])
    main(
        snakemake.output[0],
        snakemake.params.configfiles,
        snakemake.params.config,
        snakemake.log[0],
    )
