"""Rule check_players: a model's steered agents answer the quiz and read plain text."""

from pathlib import Path

from nashlens.steering.players import check_players
from nashlens.tables import read_table, write_table
from workflow.job import run_job


def main(inputs, outputs, config, fingerprint, model, threads, batch_tokens):
    found = check_players(
        read_table(inputs["games"]),
        Path(inputs["model"]).parent,
        config,
        model,
        Path(inputs["directions"]),
        threads=threads,
        batch_tokens=batch_tokens,
    )
    for name, table in found._asdict().items():
        write_table(table, outputs[name], config=config, fingerprint=fingerprint)


if "snakemake" in globals():
    run_job(main, snakemake)
