"""Rule build_games: games from the config, with variants and equilibria, as a table."""

from nashlens.games import build_games, games_table
from nashlens.logs import start_logging
from nashlens.tables import write_table


def main(output, slice, fingerprint):
    games = build_games(slice["games"], slice["experiment"]["seed"])
    write_table(games_table(games), output, config=slice, fingerprint=fingerprint)


if "snakemake" in globals():
    start_logging(snakemake.log[0])
    main(
        snakemake.output[0],
        snakemake.params.slice,
        snakemake.params.fingerprint,
    )
