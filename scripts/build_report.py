"""Rule build_report: one HTML page of what was found, from the tables alone."""

from nashlens.files import atomic_write
from nashlens.page import build_page, load_study
from workflow.command import Command
from workflow.job import run_job


def main(inputs, outputs, config, experiment, configfiles, settings):
    command = Command(configfiles, settings or [])
    study = load_study(experiment, inputs, config=config, command=command)
    with atomic_write(outputs["page"]) as file:
        file.write(build_page(study).encode())


if "snakemake" in globals():
    run_job(main, snakemake)
