"""Rule ask_quiz: one model's answers to the quiz on rules and history."""

from pathlib import Path

from nashlens.engine.core import Engine
from nashlens.games.table import games_from_table
from nashlens.logs import start_logging
from nashlens.models.load import load_model
from nashlens.models.tokenizer import ChatTokenizer
from nashlens.play.quiz import ask_quiz, histories_of
from nashlens.prompts.design import surfaces
from nashlens.tables import read_table, write_table


def main(games, manifest, output, model, slice, fingerprint, threads, tokens):
    prompts, matches, seed = slice["prompts"], slice["matches"], slice["experiment"]["seed"]
    names = ("label_sets", "label_maps", "option_orders")
    folder = Path(manifest).parent
    table = ask_quiz(
        histories_of(
            games_from_table(read_table(games), without=matches["skip_games"]),
            surfaces(matches["templates"], *(prompts[name] for name in names)),
            **slice["quiz"],
            seed=seed,
        ),
        ChatTokenizer(folder),
        Engine(load_model(folder, **slice["models"][model], threads=threads), tokens),
        system=prompts["system"],
        model=model,
        seed=seed,
    )
    write_table(table, output, config=slice, fingerprint=fingerprint)


if "snakemake" in globals():
    start_logging(snakemake.log[0])
    main(
        snakemake.input.games,
        snakemake.input.model,
        snakemake.output[0],
        snakemake.wildcards.model,
        snakemake.params.slice,
        snakemake.params.fingerprint,
        snakemake.threads,
        snakemake.resources.batch_tokens,
    )
