"""Rule measure_play: every measure of every match, and of every cell of the design."""

from pathlib import Path

from nashlens.games.table import games_from_table
from nashlens.logs import start_logging
from nashlens.models.table import read_models
from nashlens.play.metrics.matches import table_of
from nashlens.play.metrics.rounds import rounds_of
from nashlens.play.metrics.table import metrics_table
from nashlens.tables import read_table, write_table


def main(play, games, quiz, manifests, output_matches, output_metrics, slice, fingerprint):
    known = games_from_table(read_table(games))
    rounds = rounds_of(read_table(play), known)
    matches = table_of(rounds)
    folders = [Path(manifest).parent for manifest in manifests]
    models = read_models(folders, slice["models"])
    metrics = metrics_table(
        rounds,
        matches,
        known,
        read_table(quiz),
        models=models,
        confidence=slice["findings"]["confidence"],
        resamples=slice["findings"]["bootstrap"],
        seed=slice["experiment"]["seed"],
    )
    write_table(matches, output_matches, config=slice, fingerprint=fingerprint)
    write_table(metrics, output_metrics, config=slice, fingerprint=fingerprint)


if "snakemake" in globals():
    start_logging(snakemake.log[0])
    main(
        snakemake.input.play,
        snakemake.input.games,
        snakemake.input.quiz,
        snakemake.input.models,
        snakemake.output.matches,
        snakemake.output.metrics,
        snakemake.params.slice,
        snakemake.params.fingerprint,
    )
