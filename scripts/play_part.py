"""Rule play_part: one part of the matches of a group of play."""

from pathlib import Path

from nashlens.engine.core import Engine
from nashlens.engine.session import Session
from nashlens.games.table import games_from_table
from nashlens.models.load import load_model
from nashlens.models.tokenizer import ChatTokenizer
from nashlens.play.chunks import play_part
from nashlens.play.player import Cot, Player, Scratchpad, Settings
from nashlens.play.schedule import Agent, pairs_of, schedule
from nashlens.play.writer import writer
from nashlens.prompts.design import surfaces
from nashlens.tables import read_table, write_table
from workflow.job import run_job


def main(
    inputs,
    outputs,
    config,
    fingerprint,
    batch_fingerprint,
    players,
    part,
    parts,
    threads,
    batch_tokens,
):
    prompts, matches, seed = config["prompts"], config["matches"], config["experiment"]["seed"]
    names = ("label_sets", "label_maps", "option_orders")
    agents = {name: Agent.from_config(name, agent) for name, agent in config["agents"].items()}
    folders = {Path(path).parent.name: Path(path).parent for path in inputs["models"]}
    engines = {}

    def seated():
        # Loaded when first needed: a part whose matches are all kept needs no model.
        for name, folder in folders.items():
            if name not in engines:
                loaded = load_model(folder, **config["models"][name], threads=threads)
                engines[name] = ChatTokenizer(folder), Engine(loaded, batch_tokens)
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
            games_from_table(read_table(inputs["games"]), without=matches["skip_games"]),
            pairs_of(agents, players, self_play=matches["self_play"]),
            surfaces(matches["templates"], *(prompts[name] for name in names)),
            repetitions=matches["repetitions"],
            scripted_repetitions=matches["scripted_repetitions"],
            seed=seed,
            move_orders=matches["move_orders"],
            sequential_games=None if in_turn == "all" else in_turn,
        ),
        seated,
        Settings(
            rounds=matches["rounds"],
            temperature=matches["temperature"],
            horizon_known=matches["horizon"] == "known",
            system=prompts["system"],
            assistant_prefix=prompts["assistant_prefix"],
            seed=seed,
            window=matches["history_window"],
            talk_tokens=matches["talk_tokens"],
            # Only the modes of this group's agents are in its config.
            cot=Cot(**config.get("modes", {}).get("cot", {})),
            scratchpad=Scratchpad(**config.get("modes", {}).get("scratchpad", {})),
        ),
        part=int(part),
        parts=int(parts),
        folder=Path(outputs["decisions"]).parent / "chunks",
        fingerprint=batch_fingerprint,
    )
    write_table(decisions, outputs["decisions"], config=config, fingerprint=fingerprint)
    write_table(written, outputs["texts"], config=config, fingerprint=fingerprint)


if "snakemake" in globals():
    run_job(main, snakemake)
