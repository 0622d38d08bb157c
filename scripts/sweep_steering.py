"""Rule sweep_steering: what adding, clamping and ablating directions does to the decisions."""

from pathlib import Path

import numpy as np

from nashlens.config.layers import resolve_layers
from nashlens.engine.core import Engine
from nashlens.models.load import load_model
from nashlens.steering.sweep import sweep_table
from nashlens.tables import read_table, write_table
from workflow.job import run_job


def main(inputs, outputs, config, fingerprint, model, threads, batch_tokens):
    loaded = load_model(Path(inputs["model"]).parent, **config["models"][model], threads=threads)
    engine = Engine(loaded, batch_tokens)
    settings = dict(config["steering"])
    layers = resolve_layers(settings.pop("layers"), engine.n_layers, first=1, key="steering.layers")
    result = sweep_table(
        engine,
        read_table(inputs["prompts"]),
        np.load(inputs["directions"], allow_pickle=False),
        read_table(inputs["table"]),
        layers=layers,
        prompts_per_game=settings.pop("prompts"),
        **settings,
        seed=config["experiment"]["seed"],
        model=model,
    )
    write_table(result, outputs["table"], config=config, fingerprint=fingerprint)


if "snakemake" in globals():
    run_job(main, snakemake)
