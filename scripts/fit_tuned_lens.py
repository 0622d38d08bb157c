"""Rule fit_tuned_lens: an affine translator for each layer, from residuals over bundled text."""

from pathlib import Path

from nashlens.engine.core import Engine
from nashlens.files import write_json
from nashlens.lens.tuned import study_tuned_lens
from nashlens.models.load import load_model
from nashlens.models.tokenizer import ChatTokenizer
from nashlens.models.weights import load_readout
from nashlens.tables import write_table
from workflow.job import run_job


def main(inputs, outputs, config, fingerprint, model, threads, batch_tokens):
    folder = Path(inputs["model"]).parent
    loaded = load_model(folder, **config["models"][model], threads=threads)
    table, record = study_tuned_lens(
        Engine(loaded, batch_tokens),
        ChatTokenizer(folder),
        load_readout(folder),
        outputs["lens"],
        tokens=config["lens"]["tuned_tokens"],
        model=model,
        seed=config["experiment"]["seed"],
    )
    write_table(table, outputs["table"], config=config, fingerprint=fingerprint)
    write_json(outputs["manifest"], record | {"fingerprint": fingerprint})


if "snakemake" in globals():
    run_job(main, snakemake)
