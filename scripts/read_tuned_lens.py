"""Rule read_tuned_lens: what each layer's residual would answer, translated to the last layer."""

from functools import partial
from pathlib import Path

from nashlens.activations.store import ActivationStore
from nashlens.lens.positions import lens_at_positions
from nashlens.lens.tuned_file import read_tuned_lens
from nashlens.models.load import target_device
from nashlens.models.weights import load_readout
from nashlens.tables import read_table, write_table
from nashlens.vocabulary.positions import expand_positions
from workflow.job import run_job


def main(inputs, outputs, config, fingerprint, model, threads):
    folder = Path(inputs["model"]).parent
    device = str(target_device(folder, config["models"][model]["device"], "none"))
    table = lens_at_positions(
        ActivationStore(inputs["activations"]),
        read_table(inputs["prompts"]),
        expand_positions(config["lens"]["positions"], config["prompts"]["rounds"]),
        readout=load_readout(folder),
        model=model,
        device=device,
        threads=threads,
        translate=partial(read_tuned_lens(inputs["lens"]).translate, device=device),
    )
    write_table(table, outputs["table"], config=config, fingerprint=fingerprint)


if "snakemake" in globals():
    run_job(main, snakemake)
