"""Rule build_prompts: the decision prompts of one model's tokenizer."""

from pathlib import Path

from nashlens.games import games_from_table
from nashlens.logs import start_logging
from nashlens.models.tokenizer import ChatTokenizer
from nashlens.prompts.table import build_prompts
from nashlens.tables import read_table, write_table


def main(games, manifest, output, slice, fingerprint):
    table = build_prompts(
        games_from_table(read_table(games)),
        ChatTokenizer(Path(manifest).parent),
        **slice["prompts"],
        seed=slice["experiment"]["seed"],
    )
    write_table(table, output, config=slice, fingerprint=fingerprint)


if "snakemake" in globals():
    start_logging(snakemake.log[0])
    main(
        snakemake.input.games,
        snakemake.input.model,
        snakemake.output[0],
        snakemake.params.slice,
        snakemake.params.fingerprint,
    )
