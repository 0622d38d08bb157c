"""How a rule's job calls its script: by the names that the script's `main` asks for."""

from __future__ import annotations

import inspect
import signal
from collections import Counter
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from types import FrameType
from typing import Any

from nashlens.chunks import keeping
from nashlens.errors import StoppedError
from nashlens.logs import start_logging

FOLDER = ".unfinished"
"""Beside a job's outputs: what it has finished so far, until the outputs are written."""


class _Terminated(BaseException):
    """SIGTERM came: no handler of errors may take it for one."""


def run_job(main: Callable[..., None], snakemake: Any) -> None:
    """Start the job's log and call a script's `main`.

    What the library finishes on the way (`nashlens.chunks`) is kept beside the first output until
    `main` ends without an error: Snakemake deletes the outputs of a job that fails, and no other
    file. At SIGTERM, which a scheduler sends before it kills, the job writes what it has and ends.

    Parameters
    ----------
    main : callable
        Each of its parameters is `inputs` or `outputs` (name in the rule -> path or paths), `log`,
        `threads`, a wildcard, an entry of the rule's `params:` or one of its `resources:`.
    snakemake : Snakemake
        What Snakemake gives to a script.

    Raises
    ------
    TypeError
        If a parameter is none of these, or two of these in one.
    StoppedError
        At SIGTERM.
    """
    start_logging(snakemake.log[0])
    own = {
        "inputs": dict(snakemake.input),
        "outputs": dict(snakemake.output),
        "log": snakemake.log[0],
        "threads": snakemake.threads,
    }
    sources = [own, *map(dict, (snakemake.wildcards, snakemake.params, snakemake.resources))]
    counts = Counter(chain.from_iterable(sources))
    for name in inspect.signature(main).parameters:
        if counts[name] != 1:
            raise TypeError(f"{snakemake.rule}: {name} is given {counts[name]} times, not once")
    given = {name: value for source in sources for name, value in source.items()}
    wanted = {name: given[name] for name in inspect.signature(main).parameters}
    output = Path(str(snakemake.output[0]))
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        with keeping(output.parent / FOLDER / output.name, snakemake.params.fingerprint) as done:
            main(**wanted)
    except _Terminated:
        raise StoppedError(
            f"stopped by SIGTERM: {len(done)} finished results are kept, and the next run of this"
            " job goes on from them"
        ) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(number: int, frame: FrameType | None) -> None:
    # Once: what is finished is being written.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise _Terminated
