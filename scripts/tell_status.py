"""Rule tell_status: which stages are current, and why others would run."""

from pathlib import Path

from workflow.dag import Call
from workflow.job import run_job
from workflow.status import status_text


def main(outputs, configfiles, settings, targets):
    text = status_text(Call(Path.cwd(), configfiles, settings, targets))
    Path(outputs["text"]).write_text(text, encoding="utf-8")


if "snakemake" in globals():
    run_job(main, snakemake)
