"""Rule play_part: one part of the matches of a group of play."""

from pathlib import Path

from nashlens.engine.core import Engine
from nashlens.engine.session import Session
from nashlens.games.table import games_from_table
from nashlens.logs import start_logging
from nashlens.models.load import load_model
from nashlens.models.tokenizer import ChatTokenizer
from nashlens.play.chunks import play_part
from nashlens.play.player import Cot, Player, Scratchpad, Settings
from nashlens.play.schedule import Agent, pairs_of, schedule
from nashlens.play.writer import writer
from nashlens.prompts.design import surfaces
from nashlens.tables import read_table, write_table


def main(
    games, manifests, output, texts, group, slice, fingerprint, kept, part, parts, threads, tokens
):
    prompts, matches, seed = slice["prompts"], slice["matches"], slice["experiment"]["seed"]
    names = ("label_sets", "label_maps", "option_orders")
    agents = {name: Agent.from_config(name, agent) for name, agent in slice["agents"].items()}
    folders = {Path(manifest).parent.name: Path(manifest).parent for manifest in manifests}
    engines = {}

    def players():
        # Loaded when first needed: a part whose matches are all kept needs no model.
        for name, folder in folders.items():
            if name not in engines:
                loaded = load_model(folder, **slice["models"][name], threads=threads)
                engines[name] = ChatTokenizer(folder), Engine(loaded, tokens)
        sessions = {name: Session(engine) for name, (_, engine) in engines.items()}
        return {
            name: Player(
                tokenizer, sessions[name], writer(engine, tokenizer.stop_ids, sessions[name])
            )
            for name, (tokenizer, engine) in engines.items()
        }

    in_turn = matches["sequential_games"]
    decisions, written = play_part(
        schedule(
            games_from_table(read_table(games), without=matches["skip_games"]),
            pairs_of(agents, group, self_play=matches["self_play"]),
            surfaces(matches["templates"], *(prompts[name] for name in names)),
            repetitions=matches["repetitions"],
            scripted_repetitions=matches["scripted_repetitions"],
            seed=seed,
            move_orders=matches["move_orders"],
            sequential_games=None if in_turn == "all" else in_turn,
        ),
        players,
        Settings(
            rounds=matches["rounds"],
            temperature=matches["temperature"],
            horizon_known=matches["horizon"] == "known",
            system=prompts["system"],
            assistant_prefix=prompts["assistant_prefix"],
            seed=seed,
            window=matches["history_window"],
            talk_tokens=matches["talk_tokens"],
            # Only the modes of this group's agents are in its slice.
            cot=Cot(**slice.get("modes", {}).get("cot", {})),
            scratchpad=Scratchpad(**slice.get("modes", {}).get("scratchpad", {})),
        ),
        part=part,
        parts=parts,
        folder=Path(output).parent / "chunks",
        fingerprint=kept,
    )
    write_table(decisions, output, config=slice, fingerprint=fingerprint)
    write_table(written, texts, config=slice, fingerprint=fingerprint)


if "snakemake" in globals():
    start_logging(snakemake.log[0])
    main(
        snakemake.input.games,
        snakemake.input.models,
        snakemake.output.decisions,
        snakemake.output.texts,
        snakemake.params.players,
        snakemake.params.slice,
        snakemake.params.fingerprint,
        snakemake.params.batch_fingerprint,
        int(snakemake.wildcards.part),
        int(snakemake.wildcards.parts),
        snakemake.threads,
        snakemake.resources.batch_tokens,
    )
