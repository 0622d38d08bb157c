"""Rule join_ladder: the ladders of all models in one table."""

from nashlens.tables import read_tables, write_csv, write_table
from workflow.job import run_job


def main(inputs, outputs, config, fingerprint):
    ladder = read_tables(inputs["ladders"])
    write_table(ladder, outputs["ladder"], config=config, fingerprint=fingerprint)
    write_csv(ladder, outputs["ladder_csv"])


if "snakemake" in globals():
    run_job(main, snakemake)
