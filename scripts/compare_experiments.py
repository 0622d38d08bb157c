"""Rule compare_experiments: findings of several experiments on one page."""

from pathlib import Path

from nashlens.files import atomic_write
from nashlens.page.board import QUESTION
from nashlens.page.compare import build_comparison, read_experiment
from workflow.job import run_job
from workflow.records import check_inputs


def main(inputs, outputs):
    folders = [Path(path).parent for path in inputs["findings"]]
    for folder in folders:
        # It reads what they say that they were made from.
        check_inputs(map(str, sorted(folder.rglob("*.parquet"))), outputs["page"])
    experiments = [read_experiment(folder) for folder in folders]
    with atomic_write(outputs["page"]) as file:
        file.write(build_comparison(experiments, QUESTION).encode())


if "snakemake" in globals():
    run_job(main, snakemake)
