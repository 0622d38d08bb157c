"""Rule extract_activations: one part of the planned shards, through the model."""

from pathlib import Path

from nashlens.activations.extract import extract
from nashlens.activations.tokens import TokenIds
from nashlens.engine.core import Engine
from nashlens.files import read_json, write_json
from nashlens.logs import start_logging
from nashlens.models.load import load_model


def main(plan, prompts, manifest, output, part, parts, dtype, model, threads, batch_tokens):
    loaded = load_model(Path(manifest).parent, **model, threads=threads)
    result = extract(
        Engine(loaded, batch_tokens),
        TokenIds(prompts),
        read_json(plan),
        Path(output).parent,
        part=part,
        parts=parts,
        dtype=dtype,
    )
    write_json(output, result)


if "snakemake" in globals():
    start_logging(snakemake.log[0])
    main(
        snakemake.input.plan,
        snakemake.input.prompts,
        snakemake.input.model,
        snakemake.output[0],
        int(snakemake.wildcards.part),
        int(snakemake.wildcards.parts),
        snakemake.params.slice["activations"]["dtype"],
        snakemake.params.slice["models"][snakemake.wildcards.model],
        snakemake.threads,
        snakemake.resources.batch_tokens,
    )
