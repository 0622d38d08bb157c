"""A copy of the repository to run Snakemake in."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from nashlens.figures.registry import STUDY
from tests.workflow import forks

PARTS = (
    "Snakefile",
    "config.yaml",
    "experiments",
    "rules",
    "scripts",
    "src",
    "envs",
    "profiles",
    "slurm",
    "workflow",
)
SHOWN = tuple(STUDY)
"""Figures that the tiny experiment draws."""
TARGETS = {
    "all", "calibration", "games", "prompts", "play", "quiz", "activations", "probes", "lens",
    "steering", "circuits", "patching", "attribution", "spikes", "ladder", "findings", "figures",
    "report", "compare", "plan", "status", "verify",
}  # fmt: skip


@dataclass
class Workspace:
    """The copy, and what it is run with."""

    folder: Path
    overlay: str = "experiments/tiny.yaml"
    first_run: str | None = None
    """What Snakemake said of the run that filled it."""

    @classmethod
    def copy(cls, root: Path, folder: Path) -> Workspace:
        folder.mkdir(parents=True)
        for part in PARTS:
            source = root / part
            if source.is_symlink():
                (folder / part).symlink_to(os.readlink(source))
            elif source.is_dir():
                # What Python compiled goes along, as times are kept: else each copy compiles anew.
                ignore = shutil.ignore_patterns("*.pyc.*", "*.egg-info")
                shutil.copytree(source, folder / part, ignore=ignore)
            else:
                shutil.copy2(source, folder / part)
        return cls(folder)

    def snakemake(
        self,
        *args: str,
        config: Mapping[str, Any] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess:
        """Call Snakemake on the tiny experiment, with a further overlay where one is given."""
        call = self._call(args, config, env or os.environ)
        return subprocess.run(**call, capture_output=True, text=True, check=False)

    def start(self, *args: str, said: str = "said") -> subprocess.Popen[bytes]:
        """Call Snakemake on the tiny experiment in the background; a file has what it says."""
        with open(self.folder / said, "wb") as out:
            call = self._call(args, None, os.environ)
            return subprocess.Popen(**call, stdout=out, stderr=out)

    def _call(
        self, args: Sequence[str], config: Mapping[str, Any] | None, env: Mapping[str, str]
    ) -> dict[str, Any]:
        return {
            "args": [sys.executable, "-m", "snakemake", *self._arguments(args, config)],
            "cwd": self.folder,
            # The jobs' Python must find this copy's package, not the one under test.
            "env": {k: v for k, v in env.items() if k != "PYTHONPATH"},
        }

    def _arguments(self, args: Sequence[str], config: Mapping[str, Any] | None) -> list[str]:
        overlays = [self.overlay]
        if config is not None:
            path = self.folder / "overlay.yaml"
            path.write_text(yaml.safe_dump(dict(config), sort_keys=False))
            overlays.append(path.name)
        return [*args, "--configfile", *overlays]

    def would_run(self, *targets: str, config: Mapping[str, Any] | None = None) -> set[str]:
        """Return the rules that a run would carry out, by a dry run; targets left out."""
        asked = targets or ("figures",)
        status, text = forks.call(self.folder, self._arguments(["-n", *asked], config))
        assert status == 0, text[-4000:]
        if "Nothing to be done" in text:
            return set()
        table = text.split("Job stats:")[1].split("\n\n")[0]
        return set(re.findall(r"^(\w+) +\d+$", table, re.MULTILINE)) - TARGETS - {"total"}

    @contextlib.contextmanager
    def edited(self, path: str, old: str | None, new: str) -> Iterator[None]:
        """Replace a text in a file, or append where `old` is None; undo it afterwards."""
        file = self.folder / path
        before = file.read_text()
        assert old is None or old in before, f"{path} holds no {old!r}"
        _write_source(file, before + new if old is None else before.replace(old, new, 1))
        try:
            yield
        finally:
            _write_source(file, before)


def _write_source(file: Path, text: str) -> None:
    """Write a file, and delete what Python compiled of it.

    Python takes compiled code for that of a file with the same size and the same second.
    """
    file.write_text(text)
    for compiled in (file.parent / "__pycache__").glob(f"{file.stem}.*.pyc"):
        compiled.unlink()
