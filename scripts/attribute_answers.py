"""Rule attribute_answers: what each component writes, and what the late ones cause."""

from pathlib import Path

from nashlens.circuits.writing import writing_tables
from nashlens.engine.core import Engine
from nashlens.games import games_from_table
from nashlens.models.load import load_model
from nashlens.models.tokenizer import ChatTokenizer
from nashlens.models.weights import WeightReader
from nashlens.prompts.pairs import build_pairs
from nashlens.prompts.table import Asked, planned_decisions
from nashlens.tables import read_table, write_table
from workflow.job import run_job


def main(inputs, outputs, config, fingerprint, model, threads, batch_tokens):
    folder, seed = Path(inputs["model"]).parent, config["experiment"]["seed"]
    settings, design = dict(config["attribution"]), dict(config["prompts"])
    asked = Asked(ChatTokenizer(folder), design.pop("system"), design.pop("assistant_prefix"))
    games = games_from_table(read_table(inputs["games"]))
    histories = {name: game["histories"] for name, game in config["games"].items()}
    decisions = planned_decisions(games, **design, histories_of=histories, seed=seed)
    loaded = load_model(folder, **config["models"][model], threads=threads)
    tables = writing_tables(
        Engine(loaded, batch_tokens),
        read_table(inputs["prompts"]),
        build_pairs(decisions, asked, kinds=["payoffs"], games=settings["games"]),
        WeightReader(folder),
        **settings,
        late_fraction=config["findings"]["late_fraction"],
        seed=seed,
        model=model,
    )
    for name, table in tables.items():
        write_table(table, outputs[name], config=config, fingerprint=fingerprint)


if "snakemake" in globals():
    run_job(main, snakemake)
