"""Rule summarise_patching: how much of the answer each patch carries."""

from nashlens.circuits.patching_summary import patching_estimates
from nashlens.estimates import Bootstrap
from nashlens.tables import read_table, write_table
from workflow.job import run_job


def main(inputs, outputs, config, fingerprint, model):
    how = Bootstrap.from_config(config)
    table = patching_estimates(read_table(inputs["patching"]), model=model, how=how)
    write_table(table, outputs["table"], config=config, fingerprint=fingerprint)


if "snakemake" in globals():
    run_job(main, snakemake)
