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
from nashlens.logs import start_logging
from nashlens.models.load import load_model
from nashlens.models.tokenizer import ChatTokenizer
from nashlens.models.weights import load_readout
from nashlens.tables import write_table


def main(manifest, outputs, name, slice, fingerprint, threads, tokens):
    folder = Path(manifest).parent
    chunks = text_chunks(ChatTokenizer(folder), slice["lens"]["tuned_tokens"])
    loaded = load_model(folder, **slice["models"][name], threads=threads)
    residuals, owner = text_residuals(Engine(loaded, tokens), chunks)
    lens, table = fit_tuned_lens(
        residuals,
        owner,
        load_readout(folder),
        model=name,
        seed=slice["experiment"]["seed"],
    )
    digest = write_tuned_lens(outputs["lens"], lens)
    write_table(table, outputs["table"], config=slice, fingerprint=fingerprint)
    record = {
        "version": VERSION,
        "model": name,
        "tokens": len(owner),
        "chunks": len(chunks),
        "corpus": CORPUS,
        "sha256": digest,
        "fingerprint": fingerprint,
    }
    write_json(outputs["manifest"], record)


if "snakemake" in globals():
    start_logging(snakemake.log[0])
    main(
        snakemake.input[0],
        dict(snakemake.output.items()),
        snakemake.wildcards.model,
        snakemake.params.slice,
        snakemake.params.fingerprint,
        snakemake.threads,
        snakemake.resources.batch_tokens,
    )
