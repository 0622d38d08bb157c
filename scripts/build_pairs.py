"""Rule build_pairs: prompts that differ in one thing, aligned token by token."""

from pathlib import Path

from nashlens.games import games_from_table
from nashlens.models.tokenizer import ChatTokenizer
from nashlens.prompts.dropped import log_dropped
from nashlens.prompts.pairs import build_pairs
from nashlens.prompts.table import Asked, planned_decisions
from nashlens.tables import read_table, write_table
from workflow.job import run_job


def main(inputs, outputs, config, fingerprint):
    design = dict(config["prompts"])
    system, prefix = design.pop("system"), design.pop("assistant_prefix")
    decisions = planned_decisions(
        games_from_table(read_table(inputs["games"])),
        **design,
        histories_of={name: game["histories"] for name, game in config["games"].items()},
        seed=config["experiment"]["seed"],
    )
    tokenizer = ChatTokenizer(Path(inputs["model"]).parent)
    table = build_pairs(decisions, Asked(tokenizer, system, prefix), **config["patching"])
    log_dropped(table)
    write_table(table, outputs["table"], config=config, fingerprint=fingerprint)


if "snakemake" in globals():
    run_job(main, snakemake)
