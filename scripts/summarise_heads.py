"""Rule summarise_heads: what ablating each head, and the chosen group, costs."""

from nashlens.circuits.summary import heads_estimates
from nashlens.estimates import Bootstrap
from nashlens.tables import read_table, write_table
from workflow.job import run_job


def main(inputs, outputs, config, fingerprint, model):
    how = Bootstrap.from_config(config)
    table = heads_estimates(read_table(inputs["heads"]), model=model, how=how)
    write_table(table, outputs["table"], config=config, fingerprint=fingerprint)


if "snakemake" in globals():
    run_job(main, snakemake)
