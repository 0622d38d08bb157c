"""The experiment that a call of Snakemake is about: its checked config, models and groups."""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from nashlens.config.cross import used_models
from nashlens.config.doses import dose_agents
from nashlens.config.notes import design_notes
from nashlens.config.overlays import follow_drops, in_order
from nashlens.config.preflight import preflight as look_outside
from nashlens.config.rules import PartialDict, RefusedError
from nashlens.config.validate import check
from nashlens.errors import ConfigError, NashlensError, printable
from nashlens.gpus import MB, Gpu, read_gpus, visible_gpus
from nashlens.models.shapes import Shape
from nashlens.plan.host import ON_MODEL, READERS, SNAKEMAKE, UNKNOWN, HostJob, host_bytes
from nashlens.plan.sizes import converted_folder, find_size
from workflow.groups import play_groups
from workflow.intake import refuse
from workflow.provenance import Provenance
from workflow.records import Digests

MB_STEP = 50
"""Memory is asked for in steps of so many MB."""
_PLACED = {"model", "mode", "intervention"}
"""Keys of an agent that say whom it meets."""
_SIZED = {"gpus", "device", "parallel", "dtype", "quantization"}
"""Keys of a model that say what it takes of which GPUs."""


def export_path(*folders: Path) -> None:
    """Let the Python of every job find what lies in some folders, installed there or not."""
    known = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    new = [str(folder) for folder in folders if str(folder) not in known]
    os.environ["PYTHONPATH"] = os.pathsep.join([*new, *filter(None, known)])


def say_note(note: str) -> None:
    """Print a line that is no error."""
    print(f"nashlens: note: {printable(note)}", file=sys.stderr)


class Experiment:
    """A checked config, as plain values, and what follows from it.

    Parameters
    ----------
    raw : mapping
        The merged YAML.
    root : Path
        The repository.
    list_rules : callable
        Returns Snakemake's rules.
    layers : sequence of mapping
        The configs that it was merged from (`config_layers`).
    problems : sequence of str
        What is wrong with the call beside its config.
    preflight : bool
        Also look at what lies outside the config (files, tokenizers, devices), and print what its
        design cannot tell.
    dry_run : bool
        Nothing will run, so nothing need be reachable.
    remote : bool
        Jobs run on other machines.

    Raises
    ------
    ConfigError
        With every problem found.
    """

    def __init__(
        self,
        raw: Mapping[str, Any],
        root: Path,
        list_rules: Callable[[], Iterable[Any]],
        layers: Sequence[Mapping[str, Any]] = (),
        *,
        problems: Sequence[str] = (),
        preflight: bool = False,
        dry_run: bool = False,
        remote: bool = False,
    ):
        raw, gone = follow_drops(in_order(raw, layers), layers)
        if preflight and gone:
            say_note(gone)
        # One answer for all: what lies outside need not wait until the config is mended.
        checked, found = check(raw)
        problems = [*problems, *found]
        self.root, self.remote = root, remote
        self.models = used_models(checked)
        if preflight:
            folders, notes = model_folders(root, self.models), list[str]()
            problems += look_outside(
                checked, folders, dry_run=dry_run, remote=remote, say=notes.append
            )
        self.config: dict[str, Any] = checked.model_dump(mode="json")
        with contextlib.suppress(RefusedError):
            self._write_out_play()
            problems += self._gpu_problems() if preflight else []
        if problems:
            raise ConfigError(problems)
        self.name = checked.experiment.name
        if preflight:
            for note in [*notes, *design_notes(checked), *self._memory_notes()]:
                say_note(note)
        # Files that were looked at before: a source is not read again in each call.
        self.digests = Digests(root / "results" / ".digests.json")
        self.provenance = Provenance(
            self.config,
            root,
            self.models,
            self.groups,
            list_rules,
            self.digests,
            # The clone's own: results may be shared by clones of other code.
            root / ".snakemake" / "nashlens_code.json",
        )

    @classmethod
    def load(cls, *args: Any, **kwargs: Any) -> Experiment:
        """Make one; on a wrong config print one line for each problem and exit with status 1."""
        try:
            return cls(*args, **kwargs)
        except ConfigError as error:
            refuse(error.problems)

    def _write_out_play(self) -> None:
        """Put an agent for each dose into the config, and make the groups of play."""
        agents = {
            name: agent
            for name, agent in self.config["agents"].items()
            # Of a wrong config, those that can be placed.
            if agent.keys() >= _PLACED and not isinstance(agent["intervention"], PartialDict)
        }
        self.config["agents"] = dose_agents(agents, self.config["steering"]["units"])
        self.groups = play_groups(self.config["agents"], self.config["matches"])

    def _gpu_problems(self) -> list[str]:
        """Return which models, and pairs of them, do not fit on the GPUs that they ask for."""
        size = self.config["resources"]["gpu_gb"]
        here = [] if size or self.remote else self.here
        most = None if self.remote else visible_gpus() or None
        each = size * 1e9 if size else min((gpu.total * MB for gpu in here), default=None)
        models = self.config["models"]
        sized = [name for name in self.shapes if models[name].keys() >= _SIZED]
        shapes = {name: self.shapes[name] for name in sized}
        # Here a model takes a GPU where there is one, whatever it asks for.
        if each is None or not any(models[name]["gpus"] or most for name in shapes):
            return []
        from nashlens.plan.fits import gpu_problems

        return gpu_problems(self.config, self.groups, shapes, each, most)

    @cached_property
    def here(self) -> list[Gpu]:
        """The GPUs of this machine."""
        return read_gpus()

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """The sizes of the models, of those that are known."""
        found = {}
        for name, folder in model_folders(self.root, self.models).items():
            # What is wrong with a source is said where it is looked at.
            with contextlib.suppress(NashlensError, OSError, RefusedError):
                source = self.config["models"][name]["source"]
                found[name] = find_size(source, converted_folder(folder, source))
        return {name: shape for name, shape in found.items() if shape is not None}

    def model_ask(self, wildcards: Any, rulename: str) -> str | None:
        """Return what a rule's job asks of GPUs that runs the models of some wildcards, as text.

        None where it runs on the CPU: so also where there is no GPU.
        """
        from nashlens.plan.asks import model_ask

        given = dict(wildcards)
        models = self.provenance.models_of(given)
        players = self.groups[given["group"]] if "group" in given else ()
        ask = None
        if visible_gpus():
            ask = model_ask(self.config, rulename, models, self.shapes, players)
        return None if ask is None else str(ask)

    def readout_ask(self, model: str, *, tuned: bool) -> str | None:
        """Return what a job asks of a GPU that reads residuals through a model's unembedding."""
        from nashlens.plan.asks import readout_ask

        how, shape = self.config["models"][model], self.shapes.get(model)
        ask = readout_ask(how, shape, tuned=tuned) if visible_gpus() else None
        return None if ask is None else str(ask)

    def gpu_mb(self, ask: str | None) -> int | None:
        """Return what a job counts for of the memory of all GPUs here."""
        from nashlens.plan.asks import Ask
        from workflow.leases import scheduled_mb

        return scheduled_mb(Ask.parse(ask), self.here) if ask and self.here else None

    def _memory_notes(self) -> list[str]:
        """Return which models' memory is a guess."""
        return [
            f"models.{name}: its size is not known before it is converted, so until then each of"
            f" its jobs asks for {UNKNOWN / 1e9:.0f} GB more than without it: set"
            f" models.{name}.mem_mb, or fetch its config.json"
            for name in self.models
            if name not in self.shapes
            and not (
                self.config["models"][name]["mem_mb"] or self.config["resources"]["model_mem_mb"]
            )
        ]

    @property
    def steered(self) -> dict[str, dict[str, Any]]:
        """The interventions of the agents that are steered."""
        agents = {name: agent["intervention"] for name, agent in self.config["agents"].items()}
        return {name: how for name, how in agents.items() if how is not None}

    def groups_of(self, *, steered: bool) -> list[str]:
        """List the groups of play with a steered agent, or those without one."""
        return [name for name in self.groups if bool(self.steered_models(name)) == steered]

    def steered_models(self, group: str | None = None) -> list[str]:
        """List the models of a group's steered agents, or of all."""
        agents = self.config["agents"] if group is None else self.groups[group]
        steered = [name for name in agents if name in self.steered]
        return list(dict.fromkeys(self.config["agents"][name]["model"] for name in steered))

    def gpus(self, wildcards: Any = ()) -> int:
        """Return how many GPUs a job asks for that holds the models of some wildcards.

        Two models have their own each. Without wildcards it is the most that one model asks for.
        """
        models = self.provenance.models_of(dict(wildcards))
        each = [self.config["models"][model]["gpus"] for model in models]
        return sum(each) if wildcards else max(each, default=0)

    def mem_mb(self, wildcards: Any, rulename: str, threads: int) -> int:
        """Return the memory of a job: what the config says, or else what it takes by arithmetic."""
        given = dict(wildcards)
        models = self.provenance.models_of(given) if {"model", "group"} & set(given) else []
        resources = self.config["resources"]
        said: list[int] = []
        if rulename in ON_MODEL or rulename == "convert_model":
            every = {
                name: self.config["models"][name]["mem_mb"] or resources["model_mem_mb"]
                for name in models
            }
            said = [mb for mb in every.values() if mb is not None]
            models = [name for name, mb in every.items() if mb is None]
            if said and not models:
                return sum(said)
        elif resources["light_mem_mb"] is not None:
            return int(resources["light_mem_mb"])
        players = self.groups[given["group"]] if "group" in given else ()
        on_gpu = rulename in ON_MODEL | READERS and any(map(self._on_gpu, models))
        if rulename == "fit_probes":
            on_gpu = self._gpu_here(self.config["probes"]["device"])
        job = HostJob(rulename, models, on_gpu, players, threads)
        needed = host_bytes(job, self.config, self.shapes) + SNAKEMAKE * self.remote
        return sum(said) + MB_STEP * math.ceil(needed / (1e6 * MB_STEP))

    def _on_gpu(self, model: str) -> bool:
        how = self.config["models"][model]
        return how["device"] != "cpu" and (bool(how["gpus"]) or self._gpu_here(how["device"]))

    def _gpu_here(self, device: str) -> bool:
        """Return whether what runs on a device runs on a GPU, where it does not ask for one."""
        if device == "auto":
            return not self.remote and visible_gpus() > 0
        return device.startswith("cuda")


def more_each_try(
    first: int | Callable[[Any], int], most: int | str | None
) -> Callable[[Any, int], int]:
    """Return a resource that grows with each try of a job: twice as much, then three times.

    Parameters
    ----------
    first : int or callable
        What the first try asks for; a callable gets the wildcards.
    most : int, str or None
        The most that the cluster gives; a first try may ask for more.
    """

    def ask(wildcards: Any, attempt: int) -> int:
        asked = first(wildcards) if callable(first) else first
        return asked * attempt if most is None else max(asked, min(asked * attempt, int(most)))

    return ask


def model_folders(root: Path, models: Iterable[str]) -> dict[str, Path]:
    """Return where models are converted to."""
    return {name: root / "results" / "models" / name for name in models}
