"""Rule fit_directions: the difference-of-means Nash direction of each layer."""

import numpy as np

from nashlens.activations.store import ActivationStore
from nashlens.files import atomic_write
from nashlens.kept import kept, neutral
from nashlens.steering.directions import fit_directions
from nashlens.tables import read_table, write_table
from workflow.job import run_job


def main(inputs, outputs, config, fingerprint, model):
    store, prompts = ActivationStore(inputs["activations"]), read_table(inputs["prompts"])
    training = prompts[prompts["game"].isin(config["steering"]["train_games"])]
    load = store.reader(neutral(kept(training)))
    directions, table = fit_directions(load, store.n_layers, training, model=model)
    with atomic_write(outputs["directions"]) as file:
        np.save(file, directions, allow_pickle=False)
    write_table(table, outputs["table"], config=config, fingerprint=fingerprint)


if "snakemake" in globals():
    run_job(main, snakemake)
