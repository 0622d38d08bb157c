"""Rule plan_activations: which shards of a model's activations exist and which are to be made."""

from pathlib import Path

from nashlens.activations.plan import NEEDED, plan_shards
from nashlens.activations.tokens import TokenIds
from nashlens.files import write_json
from nashlens.prompts.extra import NEEDED as FOR_EXTRA
from nashlens.prompts.extra import extra_sequences
from nashlens.tables import read_row_groups, read_table
from nashlens.vocabulary.positions import expand_positions
from workflow.job import run_job


def main(inputs, outputs, config, shard_fingerprint, per_shard):
    plan = plan_shards(
        Path(outputs["plan"]).parent,
        read_table(inputs["prompts"], columns=NEEDED),
        fingerprint=shard_fingerprint,
        shard_prompts=per_shard,
        extra=extra_sequences(
            read_row_groups(inputs["prompts"], FOR_EXTRA), TokenIds(inputs["prompts"])
        ),
        positions=expand_positions(config["activations"]["positions"], config["prompts"]["rounds"]),
    )
    write_json(outputs["plan"], plan)


if "snakemake" in globals():
    run_job(main, snakemake)
