"""Rule summarise_tuned_lens: what a model's layers favour through its tuned lens."""

from nashlens.estimates import Bootstrap
from nashlens.lens.layers import tuned_estimates
from nashlens.tables import read_table, write_table
from workflow.job import run_job


def main(inputs, outputs, config, fingerprint, model):
    how = Bootstrap.from_config(config)
    table = tuned_estimates(
        *(read_table(inputs[name]) for name in ("lens", "prompts", "text")), model=model, how=how
    )
    write_table(table, outputs["table"], config=config, fingerprint=fingerprint)


if "snakemake" in globals():
    run_job(main, snakemake)
