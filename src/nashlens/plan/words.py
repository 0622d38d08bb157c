"""A stand-in for a tokenizer that is not at hand: words, digits and punctuation marks.

English prompts of numbers and short words have about as many tokens in any vocabulary of tens of
thousands; `docs/howto/cost.md` has the difference, measured.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_PIECES = re.compile(r"<\|\w+\|>|\n+|[A-Za-z]+|\d|[^\w\s]")
_LINES = re.compile(r"(\n+)")


class WordTokenizer:
    """Text to ids, one for each word, digit, punctuation mark and line break.

    Parameters
    ----------
    max_length : int, optional
        The most tokens that the model takes.
    """

    name = "words"
    bos_id = None
    stop_ids: frozenset[int] = frozenset()
    special_tokens: tuple[str, ...] = ()

    def __init__(self, max_length: int | None = None):
        self.max_length = max_length
        self._ids: dict[str, int] = {}
        self._pieces: list[str] = []
        self._lines: dict[str, list[int]] = {}

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text's pieces; a new piece gets the next id."""
        found: list[int] = []
        # No piece holds more than line breaks beside other characters, and prompts share most of
        # their lines.
        for line in _LINES.split(text):
            known = self._lines.get(line)
            if known is None:
                known = self._lines[line] = [self._id(piece) for piece in _PIECES.findall(line)]
            found += known
        return found

    def _id(self, piece: str) -> int:
        if piece not in self._ids:
            self._ids[piece] = len(self._pieces)
            self._pieces.append(piece)
        return self._ids[piece]

    def encode_many(self, texts: Sequence[str]) -> list[list[int]]:
        """Encode texts."""
        return [self.encode(text) for text in texts]

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return the characters that each token covers."""
        return [found.span() for found in _PIECES.finditer(text)]

    def last_piece(self, text: str) -> str:
        """Return the end of a text that is encoded by itself."""
        return text[max(0, text.rfind("<|")) :]

    def chat(self, messages: Sequence[dict[str, str]]) -> str:
        """Return messages as most chat templates write them, with two marks around each."""
        turns = [f"<|{m['role']}|>\n{m['content']}<|end|>\n" for m in messages]
        return "".join([*turns, "<|assistant|>\n"])

    def template_note(self, *, system: bool) -> str:
        """Return what a chat template changes of a prompt: nothing."""
        return ""

    def text(self, ids: Sequence[int]) -> str:
        """Return the pieces of some ids."""
        return " ".join(self._pieces[i] for i in ids)
