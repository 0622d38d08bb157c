"""Rule plan_activations: which shards of a model's activations exist and which are to be made."""

from pathlib import Path

from nashlens.activations.plan import plan_shards
from nashlens.activations.tokens import TokenIds
from nashlens.files import write_json
from nashlens.prompts.extra import NEEDED, extra_sequences
from nashlens.tables import read_row_groups, read_table
from workflow.job import run_job


def main(inputs, outputs, config, shard_fingerprint):
    plan = plan_shards(
        Path(outputs["plan"]).parent,
        read_table(inputs["prompts"], columns=["prompt_id", "game", "dropped"]),
        fingerprint=shard_fingerprint,
        shard_prompts=config["activations"]["shard_prompts"],
        extra=extra_sequences(
            read_row_groups(inputs["prompts"], NEEDED), TokenIds(inputs["prompts"])
        ),
    )
    write_json(outputs["plan"], plan)


if "snakemake" in globals():
    run_job(main, snakemake)
