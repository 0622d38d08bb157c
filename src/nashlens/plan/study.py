"""A study's jobs, each with what it computes: counted once, priced for any device."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from nashlens.errors import NashlensError
from nashlens.games import build_games, games_table
from nashlens.models.shapes import Shape
from nashlens.models.tokenizer import ChatTokenizer
from nashlens.plan.design import Design
from nashlens.plan.play import count_play
from nashlens.plan.sizes import converted_folder, find_size
from nashlens.plan.stages import ModelStages
from nashlens.plan.words import WordTokenizer
from nashlens.plan.work import Work
from nashlens.play.experiment import matches_of_group, settings_of_play

WHOLE = 20_000
"""Rounds of matches that are counted one by one; of a study of more, a sample of each group is."""
SAMPLE = 200
"""Rounds of a group that are then counted."""


@dataclass(frozen=True)
class Job:
    """One job, as the one who asks knows it."""

    rule: str
    models: tuple[str, ...] = ()
    """Models that it is about."""
    group: str = ""
    """The group of play, where it plays."""
    part: int = 1
    parts: int = 1
    gpus: int = 0
    """GPUs that it asks for."""
    threads: int = 1
    after: tuple[int, ...] = ()
    """Jobs that it waits for, by their places in the list."""
    todo: bool = True
    """Whether it would run; otherwise what it makes is current."""


@dataclass
class Study:
    """What a config's jobs compute.

    Parameters
    ----------
    config : mapping
        The checked config, doses of agents written out.
    groups : mapping of str to sequence of str
        Groups of play, each with its agents.
    folders : mapping of str to Path
        Where each model is converted to, if it is.
    """

    config: Mapping[str, Any]
    groups: Mapping[str, Sequence[str]]
    folders: Mapping[str, Path]
    unknown: list[str] = field(default_factory=list)
    """Models whose size nothing here tells."""
    by_words: list[str] = field(default_factory=list)
    """Models whose tokens are counted as words, as their tokenizer is not at hand."""
    sampled: bool = False
    """Whether play was counted by a sample."""

    @cached_property
    def models(self) -> list[str]:
        """Models that an agent uses."""
        used = {agent["model"] for agent in self.config["agents"].values()}
        return [name for name in self.config["models"] if name in used]

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """The models' shapes, of those that are known."""
        found = {}
        for name in self.models:
            shape = find_size(self.config["models"][name]["source"], self._converted(name))
            if shape is None:
                self.unknown.append(name)
            else:
                found[name] = shape
        return found

    def _converted(self, name: str) -> Path | None:
        """Return the folder of a model that was converted from the source that the config names."""
        return converted_folder(self.folders.get(name), self.config["models"][name]["source"])

    @cached_property
    def tokenizers(self) -> dict[str, Any]:
        """The models' tokenizers, or words in place of one that is not at hand.

        Models whose tokenizers are alike have one, so that what they share is counted once.
        """
        found: dict[str, Any] = {}
        alike: dict[str, ChatTokenizer] = {}
        words = WordTokenizer(min((s.context for s in self.shapes.values()), default=0) or None)
        for name in self.shapes:
            own = self._tokenizer(name)
            if own is None:
                self.by_words.append(name)
            found[name] = words if own is None else alike.setdefault(own.digest, own)
        return found

    def _tokenizer(self, name: str) -> ChatTokenizer | None:
        kind, _, location = self.config["models"][name]["source"].partition(":")
        folder = self._converted(name)
        if folder is None and kind == "path":
            folder = Path(location).expanduser()
        try:
            if folder is None and kind == "planted":
                return _planted_tokenizer(location)
            return None if folder is None else ChatTokenizer(folder)
        except NashlensError:
            return None

    @cached_property
    def games(self) -> Any:
        """The games table."""
        return games_table(build_games(self.config["games"], self.config["experiment"]["seed"]))

    @cached_property
    def stages(self) -> dict[str, ModelStages]:
        """Each model's stages; one for models that differ in their weights alone."""
        designs: dict[int, Design] = {}
        for tokenizer in self.tokenizers.values():
            designs.setdefault(id(tokenizer), Design(self.config, self.games, tokenizer))
        counted: dict[Any, ModelStages] = {}
        found = {}
        for name, shape in self.shapes.items():
            design = designs[id(self.tokenizers[name])]
            key = id(design), shape, self._said_of(name)
            found[name] = counted.setdefault(key, ModelStages(design, name, shape))
        return found

    def _said_of(self, name: str) -> str:
        """Return what the config says of a model and its agents, but for names and weights."""
        section = {**self.config["models"][name], "source": ""}
        agents = [a for a in self.config["agents"].values() if a["model"] == name]
        return repr([section, *({**agent, "model": ""} for agent in agents)])

    def work(self, job: Job) -> dict[str, Work]:
        """Return what a job computes, by model; nothing of models of unknown size."""
        if job.rule == "play_part":
            return self._play(job.group, job.parts)[job.part - 1]
        key = (job.rule, job.part, job.parts)
        return {
            model: self._stage(model, *key)
            for model in job.models
            if model in self.shapes and len(job.models) == 1
        }

    def _stage(self, model: str, *job: Any) -> Work:
        stages = self.stages[model]
        key = id(stages), *job
        if key not in self._counted:
            self._counted[key] = stages.work(*job)
        return self._counted[key]

    @cached_property
    def _counted(self) -> dict[tuple[Any, ...], Work]:
        return {}

    @cached_property
    def _matches(self) -> dict[str, Any]:
        return {
            name: matches_of_group(self.games, self.config, agents)
            for name, agents in self.groups.items()
        }

    @cached_property
    def _rounds(self) -> int:
        """Rounds of all matches."""
        most = self.config["matches"]["rounds"]
        return sum(match.length(most) for some in self._matches.values() for match in some)

    @cached_property
    def _played(self) -> dict[Any, list[dict[str, Work]]]:
        return {}

    def _play(self, group: str, parts: int) -> list[dict[str, Work]]:
        settings = settings_of_play(self.config)
        every = self._matches
        agents = [self.config["agents"][name] for name in self.groups[group]]
        names = [agent["model"] for agent in agents if agent["model"] is not None]
        if any(name not in self.shapes for name in names):
            return [{} for _ in range(parts)]
        layers = {name: self.shapes[name].layers for name in names}
        self.sampled = self._rounds > WHOLE
        if not self.sampled:
            if group not in self._played:
                self._played[group] = count_play(
                    every[group], self.tokenizers, layers, settings, jobs=parts
                )
            return self._played[group]
        # Groups of the same modes, bounds and tokenizer play alike: counted once, for one block.
        alike = repr(
            [
                {key: value for key, value in agent.items() if key not in ("model", "intervention")}
                for agent in agents
                if agent["model"] is not None
            ]
            + [id(self.tokenizers[name]) for name in names]
            + [len(every[group]), len(set(names)), parts]
        )
        if alike not in self._played:
            self._played[alike] = count_play(
                every[group],
                self.tokenizers,
                dict.fromkeys(names, 1),
                settings,
                jobs=parts,
                budget=SAMPLE,
            )
        # A group whose bounds leave it no match has no work.
        return [
            {
                name: replace(work, growing=work.growing * layers[name])
                for name, work in zip(dict.fromkeys(names), part.values(), strict=bool(part))
            }
            for part in self._played[alike]
        ]


def _planted_tokenizer(name: str) -> ChatTokenizer:
    from nashlens.planted.recipes import find_recipe, write_recipe_tokenizer

    with tempfile.TemporaryDirectory() as folder:
        write_recipe_tokenizer(find_recipe(name), Path(folder))
        tokenizer = ChatTokenizer(folder)
        # Read before the folder goes.
        _ = tokenizer.max_length, tokenizer.stop_ids, tokenizer.digest
        return tokenizer
