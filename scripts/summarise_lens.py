"""Rule summarise_lens: which action a model's layers favour, from where, action or token."""

from nashlens.lens.summary import summarise
from nashlens.logs import start_logging
from nashlens.tables import read_table, write_table


def main(lens, prompts, output, model, slice, fingerprint):
    table = summarise(
        read_table(lens),
        read_table(prompts),
        model=model,
        confidence=slice["findings"]["confidence"],
        resamples=slice["findings"]["bootstrap"],
        seed=slice["experiment"]["seed"],
    )
    write_table(table, output, config=slice, fingerprint=fingerprint)


if "snakemake" in globals():
    start_logging(snakemake.log[0])
    main(
        snakemake.input.lens,
        snakemake.input.prompts,
        snakemake.output[0],
        snakemake.wildcards.model,
        snakemake.params.slice,
        snakemake.params.fingerprint,
    )
