"""An experiment's play: from the config and a group of agents to what they did and wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from nashlens.engine.core import Engine
from nashlens.engine.generation import generate
from nashlens.engine.session import Session
from nashlens.engine.steered import steered as steer
from nashlens.games.game import families
from nashlens.models.load import load_model
from nashlens.models.tokenizer import ChatTokenizer
from nashlens.play.chunks import play_job
from nashlens.play.player import Cot, Player, PlaySettings, Scratchpad
from nashlens.play.schedule import (
    Agent,
    Match,
    forms_of_play,
    games_of_play,
    pairs_of,
    schedule,
)
from nashlens.play.steered import SteeredAgent, edits_hash, steered_agents
from nashlens.prompts.labels import check_words
from nashlens.prompts.table import words_of


def play_group(
    games: pd.DataFrame,
    models: Sequence[Path],
    config: Mapping[str, Any],
    group: Sequence[str],
    *,
    job: int,
    jobs: int,
    folder: Path,
    fingerprint: str,
    threads: int,
    batch_tokens: int,
    directions: Sequence[Path] = (),
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Play one job's share of a group's matches; chunks already played are read back.

    Parameters
    ----------
    games : pandas.DataFrame
        The games table.
    models : sequence of Path
        Folders of the group's converted models, named as the models.
    config : mapping
        The config's sections as far as the group reads them: `agents`, `models`, `prompts`,
        `matches`, `experiment`, and in `modes` those of its agents.
    group : sequence of str
        The agents that play (`schedule.pairs_of`).
    job, jobs : int
        Number of this job, from 1, and of all jobs that share the matches.
    folder : Path
        Where chunks are kept that have been played.
    fingerprint : str
        Hash of the models and of the code; chunks kept under another are played again.
    threads : int
        Number of torch threads.
    batch_tokens : int
        The most tokens of a forward pass.
    directions : sequence of Path, optional
        Files of directions, named as the models, of those that a steered agent of the group uses.

    Returns
    -------
    decisions, texts : pandas.DataFrame
        The play table and the texts table.
    """
    agents = [Agent.from_config(name, config["agents"][name]) for name in group]
    steered = steered_agents(agents, directions, seed=config["experiment"]["seed"])
    if steered:
        edits = {name: some for name, (_, some, _) in steered.items()}
        fingerprint = f"{fingerprint}-{edits_hash(edits)}"
    return play_job(
        matches_of_group(games, config, group),
        _Loader(models, config["models"], threads, batch_tokens, steered, _words(games, config)),
        settings_of_play(config),
        job=job,
        jobs=jobs,
        folder=folder,
        fingerprint=fingerprint,
    )


def matches_of_group(
    games: pd.DataFrame, config: Mapping[str, Any], group: Sequence[str]
) -> list[Match]:
    """Return all matches of a group of agents."""
    matches = config["matches"]
    agents = {name: Agent.from_config(name, agent) for name, agent in config["agents"].items()}
    sequential = matches["sequential_games"]
    of_game = partial(
        schedule,
        pairs=pairs_of(agents, group, self_play=matches["self_play"]),
        repetitions=matches["repetitions"],
        scripted_repetitions=matches["scripted_repetitions"],
        seed=config["experiment"]["seed"],
        move_orders=matches["move_orders"],
        sequential_games=None if sequential == "all" else sequential,
        sequential_repetitions=matches["sequential_repetitions"],
    )
    return [
        match
        for family in families(games_of_play(games, config)).values()
        for match in of_game(family, forms=forms_of_play(config, family[0]))
    ]


def settings_of_play(config: Mapping[str, Any]) -> PlaySettings:
    """Return what is the same for all matches; modes that the config lacks are not played."""
    matches, prompts, modes = config["matches"], config["prompts"], config.get("modes", {})
    return PlaySettings(
        rounds=matches["rounds"],
        temperature=matches["temperature"],
        horizon_known=matches["horizon"] == "known",
        system=prompts["system"],
        assistant_prefix=prompts["assistant_prefix"],
        seed=config["experiment"]["seed"],
        window=matches["history_window"],
        talk_tokens=matches["talk_tokens"],
        cot=Cot(**modes["cot"]) if "cot" in modes else None,
        scratchpad=Scratchpad(**modes["scratchpad"]) if "scratchpad" in modes else None,
    )


def own_devices(
    options: Mapping[str, Mapping[str, Any]], gpus: int
) -> dict[str, Mapping[str, Any]]:
    """Give each of several models a GPU of its own, where a job has as many.

    Parameters
    ----------
    options : mapping of str to mapping
        How each model is loaded, as in the config. One that names its GPU, or is on the CPU, or is
        spread over all of them stays as it is.
    gpus : int
        That the job sees.
    """
    single = [
        name
        for name, how in options.items()
        if how["device"] in ("auto", "cuda") and not _spread(how)
    ]
    if len(options) < 2 or gpus < 2 or len(single) > gpus:
        return dict(options)
    placed = {name: {"device": f"cuda:{k}"} for k, name in enumerate(single)}
    return {name: {**how, **placed.get(name, {})} for name, how in options.items()}


def _words(games: pd.DataFrame, config: Mapping[str, Any]) -> list[str | None]:
    """List the texts of the config that prompts of play hold."""
    prompts, cot = config["prompts"], config.get("modes", {}).get("cot", {})
    played = games_of_play(games, config)
    texts = prompts["system"], prompts["assistant_prefix"], cot.get("anchor")
    return [*texts, *words_of(played, prompts["label_sets"])]


def _spread(how: Mapping[str, Any]) -> bool:
    return how.get("parallel", "none") != "none"


class _Loader:
    """Makes players of models, which are loaded at the first call: kept chunks need none."""

    def __init__(
        self,
        folders: Sequence[Path],
        options: Mapping[str, Mapping[str, Any]],
        threads: int,
        batch_tokens: int,
        steered: Mapping[str, SteeredAgent],
        words: Sequence[str | None],
    ):
        self.folders = {folder.name: folder for folder in folders}
        self.options = own_devices(options, torch.cuda.device_count())
        self.threads, self.batch_tokens = threads, batch_tokens
        self.steered, self.words = steered, words
        self._loaded: dict[str, tuple[ChatTokenizer, Engine]] = {}

    def __call__(self) -> dict[str, Player]:
        """Return players with sessions of their own, by `Agent.player`."""
        # What is spread over all GPUs takes what is left by what has one to itself.
        for name in sorted(self.folders, key=lambda name: _spread(self.options[name])):
            folder = self.folders[name]
            if name not in self._loaded:
                tokenizer = ChatTokenizer(folder)
                check_words(tokenizer, self.words)
                model = load_model(folder, **self.options[name], threads=self.threads)
                self._loaded[name] = tokenizer, Engine(model, self.batch_tokens)
        players = {name: self._player(*self._loaded[name]) for name in self.folders}
        for name, agent in self.steered.items():
            tokenizer, engine = self._loaded[agent.model]
            players[name] = self._player(tokenizer, steer(engine, agent.edits, agent.positions))
        return players

    def _player(self, tokenizer: ChatTokenizer, engine: Engine) -> Player:
        session = Session(engine)
        write = partial(generate, engine, stop=tokenizer.stop_ids, session=session)
        return Player(tokenizer, session, write)
