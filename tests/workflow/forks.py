"""Calls of Snakemake in forks of a process that has imported it, which is half of a dry run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Sequence
from functools import cache
from pathlib import Path


def call(folder: Path, arguments: Sequence[str]) -> tuple[int, str]:
    """Return the exit status of a call and what it printed, errors among it.

    What it imports of the folder it imports anew: nothing of the package is known before.
    """
    server = _server()
    # A clone's jobs must find its own package, not the one under test.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    server.stdin.write(json.dumps([str(folder), list(arguments), environment]) + "\n")
    server.stdin.flush()
    status, said = json.loads(server.stdout.readline())
    return status, said


@cache
def _server() -> subprocess.Popen[str]:
    # Isolated: no folder of a clone is on its path.
    return subprocess.Popen(
        [sys.executable, "-I", __file__],
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _serve() -> None:
    import snakemake.cli

    # This imports the plugins.
    snakemake.cli.get_argument_parser()
    for line in sys.stdin:
        folder, arguments, environment = json.loads(line)
        ours, theirs = os.pipe()
        child = os.fork()
        if not child:
            os.close(ours)
            os.environ.clear()
            os.environ.update(environment)
            _call(snakemake.cli.main, folder, arguments, theirs)
        os.close(theirs)
        with open(ours, encoding="utf-8") as told:
            said = told.read()
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(json.dumps([status, said]), flush=True)


def _call(main, folder: str, arguments: list[str], output: int) -> None:
    """Call it in this process as `python -m snakemake` does, and end."""
    status = 1
    try:
        for stream in (1, 2):
            os.dup2(output, stream)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(folder)
        sys.path.insert(0, folder)
        sys.argv = ["snakemake", *arguments]
        main(arguments)
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    _serve()
