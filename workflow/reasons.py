"""Why a job runs, in Snakemake's own words beside it: its `Reason`, filled in by our records.

Snakemake's words for a job that was merely chosen are "Forced execution". They stay where its own
have no better ones: of damaged files, which a note names, and of files without a record.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SAID = 4
"""Causes of one job that are listed."""


class Keys(tuple[str, ...]):
    """Keys of the config that have changed, each with both values: what `params_changed` holds."""

    __slots__ = ()

    def __str__(self) -> str:
        return "; ".join(few(self))


@dataclass(frozen=True)
class Cause:
    """What by its record has changed since a job's outputs were made."""

    keys: Keys = field(default_factory=Keys)
    inputs: Sequence[str] = ()
    """Files that have other bytes now."""
    code: bool = False
    """Neither of these, nor what is upstream: it is the code, or a user's own file."""
    versions: bool = False
    """A package that computed it has another version, and that counts."""


def give_reasons(dag: Any, chosen: Collection[Any], causes: Mapping[Any, Cause]) -> None:
    """Say of each job why it runs, beside what Snakemake knows of it.

    Parameters
    ----------
    dag : DAG
        Snakemake's.
    chosen : collection of Job
    causes : mapping
        Job -> its cause, of those that have one of their own.
    """
    for job in chosen:
        reason, cause = dag.reason(job), causes.get(job, Cause())
        if reason.forced:
            continue
        reason.missing_output.update(file for file in job.output if not os.path.exists(file))
        makers = dag.dependencies[job].items()
        reason.updated_input_run.update(
            file for maker, files in makers if maker in chosen for file in files
        )
        reason.updated_input.update(cause.inputs)
        if cause.keys:
            reason.params_changed = cause.keys
        reason.code_changed = cause.code
        reason.software_stack_changed = cause.versions
        reason.forced = not reason


def said_causes(job: Any, reason: Any) -> Iterator[str]:
    """Yield what has changed of a job itself; nothing of one that only follows others."""
    if isinstance(reason.params_changed, Keys):
        yield from reason.params_changed
    yield from (f"{file} has changed" for file in sorted(reason.updated_input))
    if reason.code_changed:
        yield f"code of {job.rule.name}"


def few(causes: Sequence[str], most: int = SAID) -> list[str]:
    """Return some causes, and how many more there are."""
    more = [f"and {len(causes) - most} more"] if len(causes) > most else []
    return [*causes[:most], *more]


def changed_keys(old: Any, new: Any, path: str = "") -> Iterator[str]:
    """Yield each key in which two parts of a config differ, with both values.

    Parameters
    ----------
    old, new : config values
    path : str
        Dotted key of both.
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys([*old, *new]):
            here = f"{path}.{key}" if path else str(key)
            if key not in old:
                yield f"{here} is new"
            elif key not in new:
                yield f"{here} is gone"
            # As JSON: the order of games counts, as it is that of the tables' rows.
            elif json.dumps(old[key]) != json.dumps(new[key]):
                yield from changed_keys(old[key], new[key], here)
        if list(old) != list(new) and set(old) == set(new):
            yield f"order of {path}"
    else:
        yield f"{path}: {_short(old)} -> {_short(new)}"


def _short(value: Any) -> str:
    text = "null" if value is None else str(value)
    return text if len(text) <= 24 else f"{text[:21]}..."
