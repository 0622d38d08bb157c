"""Rule read_lens: what each layer's residual would answer, from stored activations."""

from functools import partial
from pathlib import Path

from nashlens.activations.store import ActivationStore
from nashlens.lens.logit import lens_table
from nashlens.logs import start_logging
from nashlens.models.weights import load_readout
from nashlens.progress import progress
from nashlens.tables import read_table, write_table


def main(activations, prompts, manifest, output, model, slice, fingerprint):
    store, prompts = ActivationStore(activations), read_table(prompts)
    table = lens_table(
        store.layer,
        range(store.n_layers + 1),
        prompts,
        readout=load_readout(Path(manifest).parent),
        model=model,
        last=store.n_layers,
        progress=partial(progress, name="lens", unit="layer"),
    )
    write_table(table, output, config=slice, fingerprint=fingerprint)


if "snakemake" in globals():
    start_logging(snakemake.log[0])
    main(
        snakemake.input.activations,
        snakemake.input.prompts,
        snakemake.input.model,
        snakemake.output[0],
        snakemake.wildcards.model,
        snakemake.params.slice,
        snakemake.params.fingerprint,
    )
