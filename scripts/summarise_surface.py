"""Rule summarise_surface: how far surface forms move a model's choices."""

from nashlens.estimates import Bootstrap
from nashlens.surface import surface_estimates
from nashlens.tables import read_table, write_table
from workflow.job import run_job


def main(inputs, outputs, config, fingerprint, model):
    how = Bootstrap.from_config(config)
    table = surface_estimates(
        *(read_table(inputs[name]) for name in ("prompts", "lens", "play")), model=model, how=how
    )
    write_table(table, outputs["table"], config=config, fingerprint=fingerprint)


if "snakemake" in globals():
    run_job(main, snakemake)
