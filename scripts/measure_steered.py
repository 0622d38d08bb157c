"""Rule measure_steered: every measure of the matches of steered agents, and their doses' means."""

from nashlens.estimates import Bootstrap
from nashlens.findings.steered_summary import steered_estimates
from nashlens.games.table import games_from_table
from nashlens.models.table import read_models
from nashlens.play.metrics.steered import steered_matches
from nashlens.tables import read_table, read_tables, write_table
from workflow.job import run_job


def main(inputs, outputs, config, fingerprint):
    games, how = read_table(inputs["games"]), Bootstrap.from_config(config)
    matches = steered_matches(
        read_table(inputs["play"]),
        games_from_table(games),
        temperature=config["matches"]["temperature"],
        parsed=config["modes"]["cot"]["answer"] == "parsed",
    )
    summary = steered_estimates(
        {
            "steered_matches": matches,
            "games": games,
            "models": read_models(inputs["models"], config["models"]),
            "steered_quiz": read_tables(inputs["quiz"]),
            "steered_text": read_tables(inputs["text"]),
        },
        how,
    )
    for name, table in {"matches": matches, "summary": summary}.items():
        write_table(table, outputs[name], config=config, fingerprint=fingerprint)


if "snakemake" in globals():
    run_job(main, snakemake)
