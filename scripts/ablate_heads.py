"""Rule ablate_heads: what ablating attention heads does to the decisions."""

from pathlib import Path

from nashlens.circuits.heads import heads_table
from nashlens.engine.core import Engine
from nashlens.logs import start_logging
from nashlens.models.load import load_model
from nashlens.tables import read_table, write_table


def main(prompts, manifest, output, name, slice, fingerprint, threads, tokens):
    loaded = load_model(Path(manifest).parent, **slice["models"][name], threads=threads)
    settings = dict(slice["circuits"])
    result = heads_table(
        Engine(loaded, tokens),
        read_table(prompts),
        prompts_per_game=settings.pop("prompts"),
        **settings,
        seed=slice["experiment"]["seed"],
        model=name,
    )
    write_table(result, output, config=slice, fingerprint=fingerprint)


if "snakemake" in globals():
    start_logging(snakemake.log[0])
    main(
        snakemake.input.prompts,
        snakemake.input.model,
        snakemake.output[0],
        snakemake.wildcards.model,
        snakemake.params.slice,
        snakemake.params.fingerprint,
        snakemake.threads,
        snakemake.resources.batch_tokens,
    )
