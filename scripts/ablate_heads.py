"""Rule ablate_heads: what ablating attention heads does to the decisions."""

from pathlib import Path

from nashlens.circuits.heads import heads_table
from nashlens.engine.core import Engine
from nashlens.models.load import load_model
from nashlens.tables import read_table, write_table
from workflow.job import run_job


def main(inputs, outputs, config, fingerprint, model, threads, batch_tokens):
    loaded = load_model(Path(inputs["model"]).parent, **config["models"][model], threads=threads)
    settings = dict(config["circuits"])
    result = heads_table(
        Engine(loaded, batch_tokens),
        read_table(inputs["prompts"]),
        prompts_per_game=settings.pop("prompts"),
        **settings,
        seed=config["experiment"]["seed"],
        model=model,
    )
    write_table(result, outputs["table"], config=config, fingerprint=fingerprint)


if "snakemake" in globals():
    run_job(main, snakemake)
