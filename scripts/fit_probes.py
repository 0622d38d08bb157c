"""Rule fit_probes: every target's probe at every layer, with its controls."""

from functools import partial

from nashlens.activations.store import ActivationStore
from nashlens.config.layers import resolve_layers
from nashlens.logs import start_logging
from nashlens.probes import fit_probes
from nashlens.progress import progress
from nashlens.tables import read_table, write_table


def main(activations, prompts, output, model, slice, fingerprint):
    store, prompts = ActivationStore(activations), read_table(prompts)
    used = prompts.loc[prompts["dropped"] == "", "prompt_id"].tolist()
    settings = dict(slice["probes"])
    layers = resolve_layers(settings.pop("layers"), store.n_layers, first=0, key="probes.layers")
    table = fit_probes(
        lambda layer: store.layer(layer, used),
        layers,
        prompts,
        **settings,
        confidence=slice["findings"]["confidence"],
        resamples=slice["findings"]["bootstrap"],
        seed=slice["experiment"]["seed"],
        model=model,
        progress=partial(progress, name="probes", unit="layer"),
    )
    write_table(table, output, config=slice, fingerprint=fingerprint)


if "snakemake" in globals():
    start_logging(snakemake.log[0])
    main(
        snakemake.input.activations,
        snakemake.input.prompts,
        snakemake.output[0],
        snakemake.wildcards.model,
        snakemake.params.slice,
        snakemake.params.fingerprint,
    )
