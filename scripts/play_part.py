"""Rule play_part: one part of the matches of a group of play."""

from pathlib import Path

from nashlens.engine.core import Engine
from nashlens.engine.session import Session
from nashlens.games.table import games_from_table
from nashlens.logs import start_logging
from nashlens.models.load import load_model
from nashlens.models.tokenizer import ChatTokenizer
from nashlens.play.chunks import play_part
from nashlens.play.run import Player, Settings
from nashlens.play.schedule import Agent, pairs_of, schedule
from nashlens.prompts.design import surfaces
from nashlens.tables import read_table, write_table


def main(games, manifests, output, group, slice, fingerprint, kept, part, parts, threads, tokens):
    prompts, matches, seed = slice["prompts"], slice["matches"], slice["experiment"]["seed"]
    forms = surfaces(
        *(prompts[key] for key in ("templates", "label_sets", "label_maps", "option_orders"))
    )
    agents = {
        name: Agent(name, a["model"], a["mode"], a["strategy"], 0.5 if a["p"] is None else a["p"])
        for name, a in slice["agents"].items()
    }
    pairs = pairs_of(agents, group, self_play=matches["self_play"])
    folders = {Path(manifest).parent.name: Path(manifest).parent for manifest in manifests}
    engines = {}

    def players():
        # Loaded when first needed: a part whose matches are all kept needs no model.
        for name, folder in folders.items():
            if name not in engines:
                loaded = load_model(folder, **slice["models"][name], threads=threads)
                engines[name] = ChatTokenizer(folder), Engine(loaded, tokens)
        return {name: Player(tok, Session(engine)) for name, (tok, engine) in engines.items()}

    table = play_part(
        schedule(
            games_from_table(read_table(games)),
            pairs,
            forms,
            repetitions=matches["repetitions"],
            scripted_repetitions=matches["scripted_repetitions"],
            seed=seed,
        ),
        players,
        Settings(
            rounds=matches["rounds"],
            temperature=matches["temperature"],
            horizon_known=matches["horizon"] == "known",
            system=prompts["system"],
            assistant_prefix=prompts["assistant_prefix"],
            seed=seed,
        ),
        part=part,
        parts=parts,
        folder=Path(output).parent / "chunks",
        fingerprint=kept,
    )
    write_table(table, output, config=slice, fingerprint=fingerprint)


if "snakemake" in globals():
    start_logging(snakemake.log[0])
    main(
        snakemake.input.games,
        snakemake.input.models,
        snakemake.output[0],
        snakemake.params.players,
        snakemake.params.slice,
        snakemake.params.fingerprint,
        snakemake.params.batch_fingerprint,
        int(snakemake.wildcards.part),
        int(snakemake.wildcards.parts),
        snakemake.threads,
        snakemake.resources.batch_tokens,
    )
