"""What a call of Snakemake asks for, by its command line, and the configs that it gives."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from nashlens.config.files import read_config_file

VERIFY = "verify"
"""The target that looks at what is there, and makes nothing."""
NESTED = "NASHLENS_NESTED"
CALIBRATING = "NASHLENS_CALIBRATING"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""Of an experiment: it names a folder."""
ASKED_ABOUT = (
    *("games", "prompts", "play", "quiz", "activations", "probes", "lens", "steering", "circuits"),
    *("patching", "attribution", "spikes", "ladder", "findings", "figures", "report"),
)
"""Targets that a plan or a status can be about."""


def nested() -> bool:
    """Say whether a job reads the Snakefile once more, whose own call has checked the world."""
    return NESTED in os.environ


def verifying() -> bool:
    """Say whether this is a call of `snakemake verify`."""
    return VERIFY in sys.argv[1:]


def planning() -> bool:
    """Say whether this is a call of `snakemake plan`: it needs no GPU, and no model's files."""
    return "plan" in sys.argv[1:]


def calibrating() -> bool:
    """Say whether this is a call of `snakemake calibration`, or a job of one.

    That target is about models of its own. Targets are not known where the Snakefile is parsed, but
    from the command line; a job on a cluster parses it again, and the environment tells it.
    """
    if "calibration" in sys.argv[1:]:
        os.environ[CALIBRATING] = "1"
    return CALIBRATING in os.environ


class Asked(NamedTuple):
    """What `--config` says that is no part of an experiment."""

    about: list[str]
    """Targets that a plan or a status is about: `target=ladder`; the default is all, `figures`."""
    measure: bool
    """Whether a plan is to measure: `measure=true`."""
    compared: list[str] | None
    """Experiments to be compared: `experiments="[default, mine]"`."""
    problems: list[str]
    """One line for each of these that is wrong."""


def take_asked(config: dict[str, Any]) -> Asked:
    """Take out of a config what is no part of an experiment."""
    problems: list[str] = []
    said = config.pop("target", None) or "figures"
    about = said if isinstance(said, list) else [said]
    allowed = ", ".join(ASKED_ABOUT)
    problems += [
        f"target: found {name!r}; allowed: {allowed}" for name in about if name not in ASKED_ABOUT
    ]
    measured = config.pop("measure", None)
    # Snakemake reads True and False alone as such.
    known = {"none": False, "false": False, "0": False, "true": True, "1": True}
    measure = known.get(str(measured).lower())
    if measure is None:
        problems.append(f"measure: found {measured!r}; allowed: true or false")
    compared = config.pop("experiments", None)
    problems += [] if compared is None else _not_to_compare(compared)
    return Asked(about, bool(measure), compared, problems)


def _not_to_compare(names: Any) -> list[str]:
    fine = isinstance(names, list) and len(names) > 1
    fine = fine and all(isinstance(name, str) and NAME.fullmatch(name) for name in names)
    if not fine or len(set(names)) < len(names):
        problem = "give the names of two experiments or more, each once"
        return [f'experiments: {names!r}: {problem}: --config experiments="[default, mine]"']
    tables = [f"results/{name}/findings.parquet" for name in names]
    advice = "run `snakemake --cores all findings` with that experiment's config first"
    missing = [file for file in tables if not Path(file).exists()]
    return [f"experiments: {file} is not there; {advice}" for file in missing]


def put_nulls(config: dict[str, Any], given: Mapping[str, Any]) -> None:
    """Put null into a merged config wherever `--config` says so.

    Snakemake reads what stands inside a value of `--config` as texts, `null` too.

    Parameters
    ----------
    config : dict
        It is changed.
    given : mapping
        What `--config` says, as `given_values` returns it.
    """
    for key, value in given.items():
        if isinstance(value, Mapping) and isinstance(config.get(key), dict):
            put_nulls(config[key], value)
        else:
            config[key] = value


def given_values(given: Any) -> Any:
    """Return a value of `--config` with null where YAML has it."""
    if isinstance(given, Mapping):
        return {key: given_values(value) for key, value in given.items()}
    if isinstance(given, list):
        return [given_values(value) for value in given]
    return None if given in ("null", "Null", "NULL", "~") else given


def config_layers(workflow: Any) -> list[Mapping[str, Any]]:
    """Return the configs that Snakemake merges, in their order: later ones win.

    Parameters
    ----------
    workflow : Workflow
        Snakemake's, after it read the Snakefile's own config files.
    """
    settings = workflow.config_settings
    given = list(settings.configfiles)
    # Snakemake lists those of the command line first, and merges them last.
    files = [*workflow.configfiles[len(given) :], *given]
    return [*map(read_config_file, files), given_values(settings.config or {})]
