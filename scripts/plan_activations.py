"""Rule plan_activations: which shards of a model's activations exist and which are to be made."""

from pathlib import Path

from nashlens.activations.plan import plan_shards
from nashlens.activations.tokens import TokenIds
from nashlens.files import write_json
from nashlens.logs import start_logging
from nashlens.prompts.extra import NEEDED, extra_sequences
from nashlens.tables import read_parts, read_table


def main(prompts, output, shard_prompts, shard_fingerprint):
    plan = plan_shards(
        Path(output).parent,
        read_table(prompts, columns=["prompt_id", "game", "dropped"]),
        fingerprint=shard_fingerprint,
        shard_prompts=shard_prompts,
        extra=extra_sequences(read_parts(prompts, NEEDED), TokenIds(prompts)),
    )
    write_json(output, plan)


if "snakemake" in globals():
    start_logging(snakemake.log[0])
    main(
        snakemake.input[0],
        snakemake.output[0],
        snakemake.params.slice["activations"]["shard_prompts"],
        snakemake.params.shard_fingerprint,
    )
