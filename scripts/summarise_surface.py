"""Rule summarise_surface: how far surface forms move a model's choices."""

from nashlens.surface import surface_estimates
from nashlens.tables import read_table, write_table
from workflow.job import run_job


def main(inputs, outputs, config, fingerprint, model):
    table = surface_estimates(
        *(read_table(inputs[name]) for name in ("prompts", "lens", "play")),
        model=model,
        confidence=config["findings"]["confidence"],
    )
    write_table(table, outputs["table"], config=config, fingerprint=fingerprint)


if "snakemake" in globals():
    run_job(main, snakemake)
