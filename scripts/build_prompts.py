"""Rule build_prompts: the decision prompts of one model's tokenizer."""

from pathlib import Path

from nashlens.games import games_from_table
from nashlens.models.tokenizer import ChatTokenizer
from nashlens.prompts.table import build_prompts
from nashlens.tables import read_table, write_table
from nashlens.vocabulary.positions import expand_positions
from workflow.job import run_job


def main(inputs, outputs, config, fingerprint):
    table = build_prompts(
        games_from_table(read_table(inputs["games"])),
        ChatTokenizer(Path(inputs["model"]).parent),
        **config["prompts"],
        histories_of={name: game["histories"] for name, game in config["games"].items()},
        seed=config["experiment"]["seed"],
        positions=expand_positions(config["activations"]["positions"], config["prompts"]["rounds"]),
    )
    write_table(table, outputs["table"], config=config, fingerprint=fingerprint)


if "snakemake" in globals():
    run_job(main, snakemake)
