"""Rule fit_directions: directions of each kind for each layer, and how much of each is a word."""

from pathlib import Path

import numpy as np

from nashlens.activations.store import ActivationStore
from nashlens.files import atomic_write
from nashlens.models.weights import WeightReader
from nashlens.steering.directions import fit_directions
from nashlens.steering.training import Training
from nashlens.steering.words import word_cosines
from nashlens.tables import read_table, write_table
from workflow.job import run_job


def main(inputs, outputs, config, fingerprint, model):
    store, prompts = ActivationStore(inputs["activations"]), read_table(inputs["prompts"])
    settings = config["steering"]
    rows = Training.from_config(prompts, settings, concepts=True).rows(prompts)
    found = fit_directions(
        store.reader(rows),
        store.n_layers,
        rows,
        settings["directions"],
        fit=settings["fit"],
        model=model,
    )
    with atomic_write(outputs["directions"]) as file:
        np.savez(file, mean=found.mean, **found.units)
    cosines = word_cosines(found.units, rows, WeightReader(Path(inputs["model"]).parent))
    table = found.table.merge(cosines, on=["direction", "layer"], how="left")
    write_table(table, outputs["table"], config=config, fingerprint=fingerprint)


if "snakemake" in globals():
    run_job(main, snakemake)
