"""Rule measure_play: every measure of every match, and of every cell of the design."""

from nashlens.games.table import games_from_table
from nashlens.logs import start_logging
from nashlens.play.metrics.matches import table_of
from nashlens.play.metrics.rounds import rounds_of
from nashlens.play.metrics.table import metrics_table
from nashlens.tables import read_table, write_table


def main(play, games, quiz, output_matches, output_metrics, slice, fingerprint):
    known = games_from_table(read_table(games))
    rounds = rounds_of(read_table(play), known)
    matches = table_of(rounds)
    metrics = metrics_table(
        rounds,
        matches,
        known,
        read_table(quiz),
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
        snakemake.output.matches,
        snakemake.output.metrics,
        snakemake.params.slice,
        snakemake.params.fingerprint,
    )
