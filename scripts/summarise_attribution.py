"""Rule summarise_attribution: what each component writes, and how many carry the effect."""

from nashlens.circuits.concentration import concentration_estimates
from nashlens.circuits.writers import attribution_estimates
from nashlens.estimates import Bootstrap
from nashlens.tables import read_table, write_table
from workflow.job import run_job


def main(inputs, outputs, config, fingerprint, model):
    how = Bootstrap.from_config(config)
    attribution, override = (read_table(inputs[name]) for name in ("attribution", "override"))
    written = attribution_estimates(attribution, model=model, how=how)
    carried = concentration_estimates(override, model=model, how=how)
    for name, table in (("attribution", written), ("choir", carried)):
        write_table(table, outputs[name], config=config, fingerprint=fingerprint)


if "snakemake" in globals():
    run_job(main, snakemake)
