"""Rule summarise_lens: which action a model's layers favour, from where, action or token."""

from nashlens.lens.summary import summarise
from nashlens.tables import read_table, write_table
from workflow.job import run_job


def main(inputs, outputs, config, fingerprint, model):
    table = summarise(
        read_table(inputs["lens"]),
        read_table(inputs["prompts"]),
        model=model,
        confidence=config["findings"]["confidence"],
        resamples=config["findings"]["bootstrap"],
        seed=config["experiment"]["seed"],
    )
    write_table(table, outputs["table"], config=config, fingerprint=fingerprint)


if "snakemake" in globals():
    run_job(main, snakemake)
