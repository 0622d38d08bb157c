"""A chat template of unknown origin is tried in a process of bounded time and memory.

A loop without end, a text of gigabytes or a crash ends that process, and is one line here.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

from nashlens.errors import ModelError
from nashlens.models.chat_template import ChatTemplate, Message

SECONDS, MEGABYTES = 4, 1024
"""Processor time and memory in which a template must render."""
LONGEST = 1_000_000
"""Characters of a template; the longest in use have 20,000."""
_CODE = "import sys; sys.path.insert(0, sys.argv[1]); from nashlens.models import template_check"


def check_template(
    source: str,
    special: Mapping[str, str],
    marks: Iterable[str],
    samples: Mapping[str, Sequence[Message]] | None = None,
) -> None:
    """Try a template of unknown origin in a process of bounded time and memory.

    Parameters
    ----------
    source, special, marks
        As of `ChatTemplate`.
    samples : mapping of str to sequence of dict, optional
        Messages that it is to render, by a name for errors.

    Raises
    ------
    ModelError
        It cannot be used, with or without a system message, or takes too much of either.
    """
    if len(source) > LONGEST:
        raise ModelError(f"the chat template has {len(source)} characters; allowed: {LONGEST}")
    problem = _tried(json.dumps([source, dict(special), sorted(marks), SECONDS, samples or {}]))
    if problem:
        raise ModelError(problem)


@cache
def _tried(given: str) -> str:
    """Return what is wrong with a template that another process tries."""
    code = f"{_CODE}; template_check.try_template()"
    command = [sys.executable, "-c", code, str(Path(__file__).parents[2])]
    try:
        done = subprocess.run(
            command, input=given, capture_output=True, text=True, timeout=15 * SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"the chat template takes more than {15 * SECONDS} seconds"
    if done.returncode == 0:
        return str(json.loads(done.stdout))
    if "MemoryError" in done.stderr:
        return f"the chat template takes more than {MEGABYTES} MB of memory"
    if done.returncode < 0:
        return f"the chat template takes more than {SECONDS} seconds, or more memory than there is"
    last = [line for line in done.stderr.splitlines() if line.strip()][-1:]
    return f"the chat template failed: {' '.join(last)}"


def try_template() -> None:
    """Read a template from stdin and print what is wrong with it as JSON, within the limits."""
    import resource

    source, special, marks, seconds, samples = json.load(sys.stdin)
    for kind, most in (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, MEGABYTES * 2**20),
        (resource.RLIMIT_CORE, 0),
    ):
        # Some systems know a limit and do not set it; the others hold.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(kind, (most, most))
    try:
        template = ChatTemplate(source, special, marks)
    except ModelError as error:
        print(json.dumps(str(error)))
        return
    print(json.dumps(_problem(template, samples)))


def _problem(template: ChatTemplate, samples: Mapping[str, Sequence[Message]]) -> str:
    """Say why a template cannot be used; empty where it can."""
    problems = []
    for system in (True, False):
        try:
            template.reading(system)
        except ModelError as error:
            problems.append(str(error))
            continue
        for name, messages in samples.items():
            try:
                template.chat([m for m in messages if system or m["role"] != "system"])
            except ModelError as error:
                return f"{error}, in prompts of the kind {name}"
    # A study asks with a system message or without: one of both will do.
    return problems[0] if len(problems) == 2 else ""
