"""Rule summarise_steering: response to each dose, and its change at each layer."""

from nashlens.estimates import Bootstrap
from nashlens.steering.summary import steering_estimates
from nashlens.tables import read_table, write_table
from workflow.job import run_job


def main(inputs, outputs, config, fingerprint, model):
    how = Bootstrap.from_config(config)
    table = steering_estimates(read_table(inputs["steering"]), model=model, how=how)
    write_table(table, outputs["table"], config=config, fingerprint=fingerprint)


if "snakemake" in globals():
    run_job(main, snakemake)
