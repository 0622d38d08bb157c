"""Rule measure_play: every measure of every match, and of every cell of the design."""

from pathlib import Path

from nashlens.games.table import games_from_table
from nashlens.models.table import read_models
from nashlens.play.metrics.table import measure_play
from nashlens.tables import read_table, write_table
from workflow.job import run_job


def main(inputs, outputs, config, fingerprint):
    folders = [Path(manifest).parent for manifest in inputs["models"]]
    matches, metrics = measure_play(
        read_table(inputs["play"]),
        games_from_table(read_table(inputs["games"])),
        read_table(inputs["quiz"]),
        models=read_models(folders, config["models"]),
        confidence=config["findings"]["confidence"],
        resamples=config["findings"]["bootstrap"],
        seed=config["experiment"]["seed"],
    )
    write_table(matches, outputs["matches"], config=config, fingerprint=fingerprint)
    write_table(metrics, outputs["metrics"], config=config, fingerprint=fingerprint)


if "snakemake" in globals():
    run_job(main, snakemake)
