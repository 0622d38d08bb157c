"""Rule extract_activations: one part of the planned shards, through the model."""

from pathlib import Path

from nashlens.activations.extract import extract
from nashlens.activations.tokens import TokenIds
from nashlens.engine.core import Engine
from nashlens.files import read_json, write_json
from nashlens.models.load import load_model
from workflow.job import run_job


def main(inputs, outputs, config, model, part, parts, threads, batch_tokens):
    loaded = load_model(Path(inputs["model"]).parent, **config["models"][model], threads=threads)
    plan = read_json(inputs["plan"])
    tokens = TokenIds(inputs["prompts"], plan["positions"])
    result = extract(
        Engine(loaded, batch_tokens),
        tokens,
        plan,
        Path(outputs["part"]).parent,
        part=int(part),
        parts=int(parts),
        dtype=config["activations"]["dtype"],
        places=tokens.places,
    )
    write_json(outputs["part"], result)


if "snakemake" in globals():
    run_job(main, snakemake)
