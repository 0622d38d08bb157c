"""Rule fit_directions: the difference-of-means Nash direction of each layer."""

import numpy as np

from nashlens.activations.store import ActivationStore
from nashlens.files import atomic_write
from nashlens.kept import kept
from nashlens.logs import start_logging
from nashlens.steering.directions import fit_directions
from nashlens.tables import read_table, write_table


def main(activations, prompts, array, output, model, slice, fingerprint):
    store, prompts = ActivationStore(activations), read_table(prompts)
    training = prompts[prompts["game"].isin(slice["steering"]["train_games"])]
    used = kept(training)["prompt_id"].tolist()
    directions, table = fit_directions(
        lambda layer: store.layer(layer, used), store.n_layers, training, model=model
    )
    with atomic_write(array) as file:
        np.save(file, directions, allow_pickle=False)
    write_table(table, output, config=slice, fingerprint=fingerprint)


if "snakemake" in globals():
    start_logging(snakemake.log[0])
    main(
        snakemake.input.activations,
        snakemake.input.prompts,
        snakemake.output.directions,
        snakemake.output.table,
        snakemake.wildcards.model,
        snakemake.params.slice,
        snakemake.params.fingerprint,
    )
