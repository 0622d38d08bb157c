"""Rule patch_pairs: what values of one prompt of a pair do in the other."""

from pathlib import Path

from nashlens.circuits.patching import patching_table
from nashlens.config.layers import resolve_layers
from nashlens.engine.core import Engine
from nashlens.models.load import load_model
from nashlens.tables import read_table, write_table
from workflow.job import run_job


def main(inputs, outputs, config, fingerprint, model, threads, batch_tokens):
    loaded = load_model(Path(inputs["model"]).parent, **config["models"][model], threads=threads)
    engine, settings = Engine(loaded, batch_tokens), dict(config["patching"])
    layers = resolve_layers(settings.pop("layers"), engine.n_layers, first=1, key="patching.layers")
    result = patching_table(
        engine,
        read_table(inputs["pairs"]),
        layers=layers,
        pairs_per_game=settings.pop("pairs"),
        **settings,
        seed=config["experiment"]["seed"],
        model=model,
    )
    write_table(result, outputs["table"], config=config, fingerprint=fingerprint)


if "snakemake" in globals():
    run_job(main, snakemake)
