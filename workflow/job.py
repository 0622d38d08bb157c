"""How a rule's job calls its script: by the names that the script's `main` asks for."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable
from itertools import chain
from typing import Any

from nashlens.logs import start_logging


def run_job(main: Callable[..., None], snakemake: Any) -> None:
    """Start the job's log and call a script's `main`.

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
    main(**{name: given[name] for name in inspect.signature(main).parameters})
