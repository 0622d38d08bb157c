"""The pages that people read, and the blocks of commands and code in them."""

from __future__ import annotations

import re
import shlex
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from snakemake.cli import get_argument_parser

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts),
]


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    language: str
    text: str

    @property
    def file(self) -> str | None:
        """The file that a first line such as `# mine.yaml` says it is."""
        name = re.match(r"# ([\w./-]+\.\w+)\b", self.text)
        return name[1] if name else None


SECONDS = {"plan", "status", "verify", "report"}
"""Targets that compute nothing of a study."""


@dataclass(frozen=True)
class Command:
    """One line that a page tells its reader to type."""

    page: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return shlex.join(self.words)

    @property
    def options(self) -> Namespace:
        """What Snakemake reads of it."""
        options: Namespace = get_argument_parser().parse_args(list(self.words[1:]))
        return options

    @property
    def takes_seconds(self) -> bool:
        """Whether it computes nothing of a study."""
        program, *words = self.words
        if program != "snakemake" or {"-n", "--unlock", "--report"} & set(words):
            return program in ("snakemake", "python")
        return set(self.options.targets) <= SECONDS and "measure=true" not in words


def read_blocks() -> list[Block]:
    """List all fenced blocks, in the order of the pages, without the indent of a list."""
    fence = re.compile(r"^( *)```(\S*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
    return [
        Block(
            page.relative_to(ROOT).as_posix(),
            match[2],
            re.sub(f"^{match[1]}", "", match[3], flags=re.MULTILINE),
        )
        for page in PAGES
        for match in fence.finditer(page.read_text(encoding="utf-8"))
    ]


BLOCKS = read_blocks()


def commands_of(block: Block) -> Iterator[Command]:
    """Yield the commands of a block of `sh`, one a line; a backslash joins two lines."""
    if block.language == "sh":
        for line in block.text.replace("\\\n", " ").splitlines():
            if words := shlex.split(line, comments=True):
                yield Command(block.page, tuple(words))


COMMANDS = [command for block in BLOCKS for command in commands_of(block)]
