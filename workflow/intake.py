"""What a user puts in, checked before Snakemake reads any of it.

Snakemake parses the files of `--configfile` before the Snakefile, and hands `--config` values and
the names of those files to a shell on the way to a cluster's jobs. profiles/default, which it reads
first of all, calls `watch`; the Snakefile calls it again, for calls without that profile, where
Snakemake has parsed the files already.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from nashlens.config.files import read_config_file, text_problem
from nashlens.config.validate import own_problems
from nashlens.errors import ConfigError, printable
from workflow.call import given_values, take_asked

BASE = Path(__file__).resolve().parents[1] / "config.yaml"

_CONFIG, _FILES = ("--config", "-C"), ("--configfile", "--configfiles")
# Snakemake takes braces for wildcards, PYTHONPATH ends at a colon, and shells run the others.
_FOLDER = re.compile(r"[{}:$`\n]")
# In double quotes, on a cluster, a shell runs or replaces these.
_SHELL = re.compile(r"[$`]")
_RUN = "$ and ` are run by a shell on the way to a cluster's jobs"
_SHOWN = 100
_ENTRY = re.compile(r"(?s)([^=]*)=(.*)")
_KEY = re.compile(r"[a-zA-Z_][\w-]*\w")


def watch(settings: Any = None) -> None:
    """Check the command line and its config files; let Snakemake read config files as we do.

    What is wrong ends the call: one line each on stderr, exit status 1.

    Parameters
    ----------
    settings : ConfigSettings, optional
        What Snakemake made of the command line, where it has read it.
    """
    find_cache(Path(__file__).resolve().parents[1] / ".snakemake")
    given = sys.argv[1:]
    problems = [
        *folder_problems(Path(__file__).resolve().parents[1]),
        *argument_problems(given),
        *file_problems(_values(given, _FILES)),
    ]
    if settings is not None and not problems:
        problems = list(_shell_problems(settings))
    if problems:
        refuse([*problems, *other_problems(given)])
    _read_as_we_do()


def find_cache(folder: Path) -> None:
    """Give Snakemake and its jobs a folder for caches where HOME has none that can be written.

    Parameters
    ----------
    folder : Path
        Where it then is: the clone's own.
    """
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        (home / "snakemake").mkdir(parents=True, exist_ok=True)
        if os.access(home / "snakemake", os.W_OK):
            return
    except (OSError, RuntimeError):
        pass
    cache = folder / "cache"
    os.environ["XDG_CACHE_HOME"] = str(cache)
    os.environ.setdefault("MPLCONFIGDIR", str(cache / "mplconfigdir"))


def refuse(problems: Sequence[str]) -> NoReturn:
    """Print one line for each problem and end with status 1."""
    # SystemExit, as Snakemake prints a traceback for any other exception in a Snakefile.
    for problem in problems[:_SHOWN]:
        print(f"nashlens: config: {printable(problem)}", file=sys.stderr)
    if len(problems) > _SHOWN:
        print(f"nashlens: config: and {len(problems) - _SHOWN} more", file=sys.stderr)
    sys.exit(1)


def folder_problems(root: Path) -> Iterator[str]:
    """Yield why jobs could not run in a folder of this name."""
    found = sorted(set(_FOLDER.findall(str(root))))
    if found:
        yield (
            f"{root}: the folder's name has {' '.join(map(repr, found))}, which Snakemake or a"
            " shell reads as something else; rename it"
        )


def argument_problems(arguments: Sequence[str]) -> Iterator[str]:
    """Yield what is wrong with the values of `--config`, and with the names of config files."""
    for entry in _values(arguments, _CONFIG):
        if byte := _no_text(entry):
            yield f"--config {entry[:60]}: {byte}; set LC_ALL=C.UTF-8, or use a --configfile"
            continue
        found = _ENTRY.fullmatch(entry)
        shown = f"--config {entry[:60]}"
        if found is None:
            yield f"{shown}: expected KEY=VALUE; name targets before --config"
            continue
        key, value = found.groups()
        first, dot, rest = key.partition(".")
        if dot:
            inner = value
            for name in reversed(rest.split(".")):
                inner = f"{{{name}: {inner}}}"
            yield f"{shown}: keys are not joined by dots; write --config '{first}={inner}'"
        elif not _KEY.fullmatch(key):
            yield f"{shown}: {key[:40]!r} is no key; sections are experiment, models, games, ..."
        if _SHELL.search(entry):
            yield f"{shown}: {_RUN}; use a --configfile"
        if value[:1] in "{[&*!" and (problem := text_problem(value)):
            yield f"{shown}: {problem}"
    for name in _values(arguments, _FILES):
        if byte := _no_text(name):
            yield f"--configfile {name}: {byte}; set LC_ALL=C.UTF-8, or rename it"
        if _SHELL.search(name):
            yield f"--configfile {name}: {_RUN}; rename it"


def _no_text(argument: str) -> str | None:
    """Name a byte that Python could not read as text, which no YAML or page can hold."""
    byte = next((ord(c) - 0xDC00 for c in argument if 0xDC80 <= ord(c) <= 0xDCFF), None)
    return None if byte is None else f"byte 0x{byte:02x} is no text here"


def _shell_problems(settings: Any) -> Iterator[str]:
    """Yield what a shell would run, however it was put in."""
    for key, value in (settings.config or {}).items():
        if _SHELL.search(repr(value)):
            yield f"--config {key}: {_RUN}; use a --configfile"
    for file in settings.configfiles:
        if _SHELL.search(Path(file).name):
            yield f"--configfile {file}: {_RUN}; rename it"


def file_problems(files: Sequence[str]) -> list[str]:
    """Return what is wrong with some config files."""
    problems = []
    for file in files:
        try:
            read_config_file(file)
        except ConfigError as error:
            problems += error.problems
    return problems


def other_problems(arguments: Sequence[str], base: Path = BASE) -> list[str]:
    """Return what is wrong with the config as far as it can be read, where a part of it cannot be.

    What that part says is not known: keys are looked at by themselves, and none is missed.

    Parameters
    ----------
    arguments : sequence of str
        The command line.
    base : Path
        The config that all others add to.
    """
    from snakemake.cli import parse_config
    from snakemake.utils import update_config

    config: dict[str, Any] = {}
    for file in (base, *_values(arguments, _FILES)):
        with suppress(ConfigError):
            update_config(config, read_config_file(file))
    entries = _values(arguments, _CONFIG)
    sound = [entry for entry in entries if not [*argument_problems(["--config", entry])]]
    update_config(config, given_values(parse_config(sound)))
    problems = take_asked(config).problems
    return [*problems, *own_problems(config)]


def _values(arguments: Sequence[str], options: Sequence[str]) -> list[str]:
    """Return the values of an option that takes many and may be given more than once."""
    found, taking = [], False
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if argument.startswith("-"):
            taking = name in options
            found += [value] if taking and equals else []
        elif taking:
            found.append(argument)
    return found


def _read_as_we_do() -> None:
    """Put our reader in the place of Snakemake's, for this call's config files."""
    from snakemake.common import configfile
    from snakemake.settings import types

    def load(path: Any) -> dict[str, Any]:
        try:
            return read_config_file(path)
        except ConfigError as error:
            refuse([*error.problems, *other_problems(sys.argv[1:])])

    configfile.load_configfile = load
    types.load_configfile = load
    settings: Any = types.ConfigSettings
    if not hasattr(settings, "_all_configfiles"):
        settings._all_configfiles = settings._get_configfiles
        settings._get_configfiles = _without_empty(settings._all_configfiles)


def _without_empty(list_files: Callable[[Any], list[Path]]) -> Callable[[Any], list[Path]]:
    """Leave files that change nothing out of what jobs read with Snakemake's own reader."""
    return lambda settings: [path for path in list_files(settings) if read_config_file(path)]
