"""Rule sweep_steering: what adding, clamping and ablating directions does to the decisions."""

from pathlib import Path

import numpy as np

from nashlens.config.layers import resolve_layers
from nashlens.engine.core import Engine
from nashlens.logs import start_logging
from nashlens.models.load import load_model
from nashlens.steering.sweep import sweep_table
from nashlens.tables import read_table, write_table


def main(prompts, directions, table, manifest, output, name, slice, fingerprint, threads, tokens):
    loaded = load_model(Path(manifest).parent, **slice["models"][name], threads=threads)
    engine = Engine(loaded, tokens)
    settings = dict(slice["steering"])
    layers = resolve_layers(settings.pop("layers"), engine.n_layers, first=1, key="steering.layers")
    result = sweep_table(
        engine,
        read_table(prompts),
        np.load(directions, allow_pickle=False),
        read_table(table),
        layers=layers,
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
        snakemake.input.directions,
        snakemake.input.table,
        snakemake.input.model,
        snakemake.output[0],
        snakemake.wildcards.model,
        snakemake.params.slice,
        snakemake.params.fingerprint,
        snakemake.threads,
        snakemake.resources.batch_tokens,
    )
