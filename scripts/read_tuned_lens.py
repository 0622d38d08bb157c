"""Rule read_tuned_lens: what each layer's residual would answer, translated to the last layer."""

from pathlib import Path

from nashlens.activations.store import ActivationStore
from nashlens.lens.logit import lens_table
from nashlens.lens.tuned import read_tuned_lens
from nashlens.models.weights import load_readout
from nashlens.tables import read_table, write_table
from workflow.job import run_job


def main(inputs, outputs, config, fingerprint, model):
    store = ActivationStore(inputs["activations"])
    table = lens_table(
        store.layer,
        range(store.n_layers + 1),
        read_table(inputs["prompts"]),
        readout=load_readout(Path(inputs["model"]).parent),
        model=model,
        last=store.n_layers,
        translate=read_tuned_lens(inputs["lens"]).translate,
    )
    write_table(table, outputs["table"], config=config, fingerprint=fingerprint)


if "snakemake" in globals():
    run_job(main, snakemake)
