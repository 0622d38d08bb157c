"""Rule read_tuned_lens: what each layer's residual would answer, translated to the last layer."""

from functools import partial
from pathlib import Path

from nashlens.activations.store import ActivationStore
from nashlens.lens.logit import lens_table
from nashlens.lens.tuned import read_tuned_lens
from nashlens.logs import start_logging
from nashlens.models.weights import load_readout
from nashlens.progress import progress
from nashlens.tables import read_table, write_table


def main(activations, prompts, manifest, lens, output, model, slice, fingerprint):
    store = ActivationStore(activations)
    table = lens_table(
        store.layer,
        range(store.n_layers + 1),
        read_table(prompts),
        readout=load_readout(Path(manifest).parent),
        model=model,
        last=store.n_layers,
        translate=read_tuned_lens(lens).translate,
        progress=partial(progress, name="tuned lens", unit="layer"),
    )
    write_table(table, output, config=slice, fingerprint=fingerprint)


if "snakemake" in globals():
    start_logging(snakemake.log[0])
    main(
        snakemake.input.activations,
        snakemake.input.prompts,
        snakemake.input.model,
        snakemake.input.lens,
        snakemake.output[0],
        snakemake.wildcards.model,
        snakemake.params.slice,
        snakemake.params.fingerprint,
    )
