"""Rule fit_tuned_lens: an affine translator for each layer, from residuals over bundled text."""

from pathlib import Path

from nashlens.engine.core import Engine
from nashlens.files import write_json
from nashlens.lens.tuned import (
    CORPUS,
    VERSION,
    fit_tuned_lens,
    text_chunks,
    text_residuals,
    write_tuned_lens,
)
from nashlens.models.load import load_model
from nashlens.models.tokenizer import ChatTokenizer
from nashlens.models.weights import load_readout
from nashlens.tables import write_table
from workflow.job import run_job


def main(inputs, outputs, config, fingerprint, model, threads, batch_tokens):
    folder = Path(inputs["model"]).parent
    chunks = text_chunks(ChatTokenizer(folder), config["lens"]["tuned_tokens"])
    loaded = load_model(folder, **config["models"][model], threads=threads)
    residuals, owner = text_residuals(Engine(loaded, batch_tokens), chunks)
    lens, table = fit_tuned_lens(
        residuals,
        owner,
        load_readout(folder),
        model=model,
        seed=config["experiment"]["seed"],
    )
    digest = write_tuned_lens(outputs["lens"], lens)
    write_table(table, outputs["table"], config=config, fingerprint=fingerprint)
    record = {
        "version": VERSION,
        "model": model,
        "tokens": len(owner),
        "chunks": len(chunks),
        "corpus": CORPUS,
        "sha256": digest,
        "fingerprint": fingerprint,
    }
    write_json(outputs["manifest"], record)


if "snakemake" in globals():
    run_job(main, snakemake)
