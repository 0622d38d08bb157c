"""Rule compare_experiments: findings of several experiments on one page."""

from pathlib import Path

from nashlens.files import atomic_write
from nashlens.page.board import QUESTION
from nashlens.page.compare import build_comparison, read_experiment
from workflow.job import run_job


def main(inputs, outputs):
    experiments = [read_experiment(Path(path).parent) for path in inputs["findings"]]
    with atomic_write(outputs["page"]) as file:
        file.write(build_comparison(experiments, QUESTION).encode())


if "snakemake" in globals():
    run_job(main, snakemake)
