"""Small tokenizers for the tests: whole words, and single characters."""

import re
from collections.abc import Sequence


class FakeTokenizer:
    """Tokens are the matches of a pattern; ids are given in the order of first use."""

    pattern = r"\s*[A-Za-z]+|\s*\S|\s+"
    special_tokens = ("<bos>",)

    def __init__(
        self,
        name: str = "fake",
        *,
        bos: bool = False,
        template_bos: bool = False,
        max_length: int | None = None,
    ):
        self.name = name
        self.max_length = max_length
        self.template_bos = template_bos
        self.known = {"<bos>": 0}
        self.bos_id = 0 if bos or template_bos else None

    def pieces(self, text: str) -> list[str]:
        return re.findall(self.pattern, text)

    def encode(self, text: str) -> list[int]:
        pieces = self.pieces(text.replace("<bos>", ""))
        if self.bos_id is not None:
            pieces = ["<bos>", *pieces]
        return [self.known.setdefault(piece, len(self.known)) for piece in pieces]

    def encode_many(self, texts: Sequence[str]) -> list[list[int]]:
        return [self.encode(text) for text in texts]

    def spans(self, text: str) -> list[tuple[int, int]]:
        shift = len("<bos>") if text.startswith("<bos>") else 0
        found = [m.span() for m in re.finditer(self.pattern, text[shift:])]
        return [(0, 0)] * (self.bos_id is not None) + [(a + shift, b + shift) for a, b in found]

    def last_piece(self, text: str) -> str:
        return text

    def decode(self, ids: Sequence[int]) -> str:
        pieces = list(self.known)
        return "".join(pieces[token] for token in ids)

    def chat(self, messages: list[dict[str, str]]) -> str:
        body = "".join(f"[{m['role']}]\n{m['content']}\n" for m in messages)
        return ("<bos>" if self.template_bos else "") + body + "[assistant]\n"

    def template_note(self, *, system: bool) -> str:
        return ""


class WordTokenizer(FakeTokenizer):
    """A word with the space before it is one token."""


class CharTokenizer(FakeTokenizer):
    """Every character is a token, so labels of several letters are several tokens."""

    pattern = r"(?s)."


class DoubleBosTokenizer(WordTokenizer):
    """Adds a BOS to a text whose template already has one, as peers did."""

    def encode(self, text: str) -> list[int]:
        ids = super().encode(text)
        return [0, *ids] if "<bos>" in text else ids
