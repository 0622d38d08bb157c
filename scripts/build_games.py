"""Rule build_games: games from the config, with variants and equilibria, as a table."""

from nashlens.games import build_games, games_table
from nashlens.tables import write_table
from workflow.job import run_job


def main(inputs, outputs, config, fingerprint):
    games = build_games(config["games"], config["experiment"]["seed"])
    write_table(games_table(games), outputs["table"], config=config, fingerprint=fingerprint)


if "snakemake" in globals():
    run_job(main, snakemake)
