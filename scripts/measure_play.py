"""Rule measure_play: every measure of every match, and of every cell of the design."""

from nashlens.estimates import Bootstrap
from nashlens.games.table import games_from_table
from nashlens.models.table import read_models
from nashlens.play.metrics.by_round import round_estimates
from nashlens.play.metrics.pooled import mode_differences
from nashlens.play.metrics.table import measure_play
from nashlens.tables import read_table, write_table
from workflow.job import run_job


def main(inputs, outputs, config, fingerprint):
    play, how = read_table(inputs["play"]), Bootstrap.from_config(config)
    matches, metrics = measure_play(
        play,
        games_from_table(read_table(inputs["games"])),
        read_table(inputs["quiz"]),
        how,
        models=read_models(inputs["models"], config["models"]),
    )
    tables = {
        "matches": matches,
        "metrics": metrics,
        "rounds": round_estimates(play, how),
        "mode_differences": mode_differences(metrics),
    }
    for name, table in tables.items():
        write_table(table, outputs[name], config=config, fingerprint=fingerprint)


if "snakemake" in globals():
    run_job(main, snakemake)
