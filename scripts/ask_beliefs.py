"""Rule ask_beliefs: what one model expects of the other, and what it then does."""

from pathlib import Path

from nashlens.play.beliefs import beliefs_of_model
from nashlens.tables import read_table, write_table
from workflow.job import run_job


def main(inputs, outputs, config, fingerprint, model, threads, batch_tokens):
    table = beliefs_of_model(
        read_table(inputs["games"]),
        Path(inputs["model"]).parent,
        config,
        model,
        threads=threads,
        batch_tokens=batch_tokens,
    )
    write_table(table, outputs["table"], config=config, fingerprint=fingerprint)


if "snakemake" in globals():
    run_job(main, snakemake)
