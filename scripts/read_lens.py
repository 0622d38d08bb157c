"""Rule read_lens: what each layer's residual would answer, from stored activations."""

from pathlib import Path

from nashlens.activations.store import ActivationStore
from nashlens.lens.logit import lens_table
from nashlens.models.weights import load_readout
from nashlens.tables import read_table, write_table
from workflow.job import run_job


def main(inputs, outputs, config, fingerprint, model):
    store, prompts = ActivationStore(inputs["activations"]), read_table(inputs["prompts"])
    table = lens_table(
        store.layer,
        range(store.n_layers + 1),
        prompts,
        readout=load_readout(Path(inputs["model"]).parent),
        model=model,
        last=store.n_layers,
    )
    write_table(table, outputs["table"], config=config, fingerprint=fingerprint)


if "snakemake" in globals():
    run_job(main, snakemake)
