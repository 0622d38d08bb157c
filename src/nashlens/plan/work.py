"""What a job computes, as numbers that no machine changes."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from nashlens.models.shapes import Shape


@dataclass(frozen=True)
class Work:
    """What a job asks of one model, or of the CPU.

    A *pass* is one token through one block, so a prompt's passes are its tokens times the blocks.
    """

    prompts: int = 0
    """Prompts that are answered."""
    tokens: int = 0
    """Of these prompts, were each run by itself."""
    rows: float = 0.0
    """Passes in packed rows, in which what prompts share is computed once."""
    growing: float = 0.0
    """Passes of tokens behind those of earlier calls."""
    forks: float = 0.0
    """Passes of copies of single tokens, one for each intervention."""
    written: int = 0
    """Tokens that are generated, at most: a model may stop earlier."""
    steps: int = 0
    """Steps in which they are generated, one token of each text at a time."""
    held: int = 0
    """Tokens whose keys and values are in memory at once, at most."""
    cpu: float = 0.0
    """Operations besides the model's blocks, on the CPU: probes, lenses, translators."""
    disk: float = 0.0
    """Bytes that stay on disk."""

    def __add__(self, other: Work) -> Work:
        both = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)}
        return Work(**both | {"held": max(self.held, other.held)})

    def times(self, factor: float) -> Work:
        """Return so many times as much, of which as much is in memory at once."""
        scaled = {f.name: getattr(self, f.name) * factor for f in fields(self)}
        whole = {f.name: round(scaled[f.name]) for f in fields(self) if f.type == "int"}
        return replace(Work(**scaled | whole), held=self.held)

    def passes(self, shape: Shape) -> float:
        """Return all passes, those of generated tokens included."""
        return self.rows + self.growing + self.forks + self.written * shape.layers

    def unique(self, shape: Shape) -> int:
        """Return the tokens that go through all blocks, or as many passes, without generation."""
        return round((self.rows + self.growing + self.forks) / max(1, shape.layers))

    def operations(self, shape: Shape) -> float:
        """Return floating-point operations: two for each weight that a token meets."""
        return 2.0 * shape.block_parameters() * self.passes(shape) + self.cpu
