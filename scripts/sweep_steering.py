"""Rule sweep_steering: what adding, clamping and ablating directions does to the decisions."""

from functools import partial
from pathlib import Path

from nashlens.config.layers import resolve_layers
from nashlens.engine.core import Engine
from nashlens.models.load import load_model
from nashlens.steering.directions import Directions
from nashlens.steering.doses import Doses, places_of
from nashlens.steering.sweep import sweep_table
from nashlens.steering.training import Training
from nashlens.tables import read_table, write_table
from workflow.job import run_job


def main(inputs, outputs, config, fingerprint, model, threads, batch_tokens):
    loaded = load_model(Path(inputs["model"]).parent, **config["models"][model], threads=threads)
    engine = Engine(loaded, batch_tokens)
    settings, prompts = config["steering"], read_table(inputs["prompts"])
    layers = partial(resolve_layers, n_layers=engine.n_layers, first=1)
    joint = [layers(x, key=f"steering.joint[{i}]") for i, x in enumerate(settings["joint"])]
    result = sweep_table(
        engine,
        prompts,
        Directions.read(inputs["directions"], read_table(inputs["table"])),
        Training.from_config(prompts, settings),
        Doses(*(settings[name] for name in ("alphas", "clamps", "ablate", "units"))),
        test_games=settings["test_games"],
        places=places_of(layers(settings["layers"], key="steering.layers"), joint),
        **{name: settings[name] for name in ("positions", "random_directions")},
        prompts_per_game=settings["prompts"],
        seed=config["experiment"]["seed"],
        model=model,
    )
    write_table(result, outputs["table"], config=config, fingerprint=fingerprint)


if "snakemake" in globals():
    run_job(main, snakemake)
