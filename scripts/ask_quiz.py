"""Rule ask_quiz: one model's answers to the quiz on rules and history."""

from pathlib import Path

from nashlens.engine.core import Engine
from nashlens.games.table import games_from_table
from nashlens.models.load import load_model
from nashlens.models.tokenizer import ChatTokenizer
from nashlens.play.quiz import ask_quiz, histories_of
from nashlens.prompts.design import surfaces
from nashlens.tables import read_table, write_table
from workflow.job import run_job


def main(inputs, outputs, config, fingerprint, model, threads, batch_tokens):
    prompts, matches, seed = config["prompts"], config["matches"], config["experiment"]["seed"]
    names = ("label_sets", "label_maps", "option_orders")
    folder = Path(inputs["model"]).parent
    table = ask_quiz(
        histories_of(
            games_from_table(read_table(inputs["games"]), without=matches["skip_games"]),
            surfaces(matches["templates"], *(prompts[name] for name in names)),
            **config["quiz"],
            seed=seed,
        ),
        ChatTokenizer(folder),
        Engine(load_model(folder, **config["models"][model], threads=threads), batch_tokens),
        system=prompts["system"],
        model=model,
        seed=seed,
    )
    write_table(table, outputs["table"], config=config, fingerprint=fingerprint)


if "snakemake" in globals():
    run_job(main, snakemake)
