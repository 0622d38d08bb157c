"""What trained models are trained on: decision prompts of games in which one action dominates.

Payoffs of one digit are drawn at random, in the orders of the four games that the other planted
models can read too. So one action is dominant, and in half of the prompts (a Prisoner's Dilemma)
it is not the prosocial one: a *conflict*. Labels, label maps, option orders and histories are drawn
as well. A seventh of all payoffs is held out, for tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nashlens.games.catalog import CATALOG
from nashlens.games.game import Game
from nashlens.planted.tokenizer import build_tokenizer
from nashlens.prompts.render import Surface, View, decision_messages, render
from nashlens.prompts.templates import ASSISTANT_PREFIX, SYSTEM
from nashlens.vocabulary.prompts import LABEL_MAPS, OPTION_ORDERS

CONFLICT = "prisoners_dilemma"
GAMES = (CONFLICT, "harmony", "deadlock", "concord")
LABELS = (("J", "F"), ("X", "Y"), ("P", "Q"))
"""The default pairs of labels."""
HELD_OUT = 7
"""One of so many payoffs is held out."""
NOTHING = -100
"""No target; torch's own mark."""

Tokens = NDArray[np.int64]


class Lessons(NamedTuple):
    """Prompts of one length with what is to be answered, as token ids."""

    ids: Tokens
    """The prompts, (n, tokens)."""
    running: Tokens
    """At each payoff, (n, tokens), `NOTHING` elsewhere: of the cells up to there, the own label in
    the one with the largest own payoff (at own payoffs) or sum (at the other's)."""
    asked: Tokens
    """Place of the question mark, (n,)."""
    nash: Tokens
    """Label of the Nash action, (n,)."""
    prosocial: Tokens
    """Label of the prosocial action, (n,)."""
    conflict: NDArray[np.bool_]
    """Whether the two differ, (n,)."""


class Teacher:
    """Draws lessons in the planted models' tokenizer, whose chat has a role and a text a line."""

    def __init__(self) -> None:
        self._tokenizer = build_tokenizer(bos=True)
        self.ids = self._tokenizer.get_vocab()
        self._digits = {self.ids[digit] for digit in "0123456789"}

    def lessons(
        self, rng: np.random.Generator, n: int, rounds: int, *, held_out: bool = False
    ) -> Lessons:
        """Draw lessons.

        Parameters
        ----------
        rng : numpy.random.Generator
        n : int
        rounds : int
            Rounds that were played.
        held_out : bool
            Whether to draw held-out payoffs, or only others.
        """
        rows = [self._lesson(rng, rounds, held_out) for _ in range(n)]
        return Lessons(*(np.array(column) for column in zip(*rows, strict=True)))

    def _lesson(self, rng: np.random.Generator, rounds: int, held_out: bool) -> tuple[object, ...]:
        # Half of the prompts have a conflict.
        name = CONFLICT if rng.random() < 0.5 else GAMES[1 + rng.integers(3)]
        own, other = draw_payoffs(rng, name, held_out=held_out)
        cells = np.stack([own, other], axis=-1).tolist()
        form = Surface(
            "neutral",
            "drawn",
            LABELS[rng.integers(len(LABELS))],
            LABEL_MAPS[rng.integers(2)],
            OPTION_ORDERS[rng.integers(2)],
        )
        moves = rng.integers(2, size=(2, rounds)).tolist()
        view = View(Game("drawn", cells), "row", form, *moves)
        text = render(decision_messages(view, system=SYSTEM), _chat, ASSISTANT_PREFIX)
        ids = self._tokenizer.encode(text).ids
        labels = [self.ids[form.label(action)] for action in (0, 1)]
        nash, prosocial = int(own[1, 0] > own[0, 0]), int(_best_row(own + other) or 0)
        running = self._running(ids, [own, own + other], form.order, labels)
        asked = ids.index(self.ids["?"])
        return ids, running, asked, labels[nash], labels[prosocial], nash != prosocial

    def _running(
        self, ids: Sequence[int], values: Sequence[Tokens], order: Sequence[int], labels: list[int]
    ) -> list[int]:
        """Return the targets at payoffs; where cells of both actions are best, there is none."""
        found = [NOTHING] * len(ids)
        cells = [(i, j) for i in order for j in order]
        for word, table in zip(("get", "gets"), values, strict=True):
            places = [
                k
                for k in range(1, len(ids))
                if ids[k - 1] == self.ids[word] and ids[k] in self._digits
            ]
            for count, place in enumerate(places, start=1):
                best = max(table[cell] for cell in cells[:count])
                rows = {i for i, j in cells[:count] if table[i, j] == best}
                if len(rows) == 1:
                    found[place] = labels[rows.pop()]
        return found


def draw_payoffs(
    rng: np.random.Generator, name: str, *, held_out: bool = False
) -> tuple[Tokens, Tokens]:
    """Draw the payoffs of a game, (2, 2) by own and other's action: own, and the other's.

    Each player's are four different digits in the order that they have in the canonical game. The
    largest sum is in one cell where that is in the canonical game, so that it has the same
    prosocial action.
    """
    row, col = (np.array([[int(cell[k]) for cell in line] for line in CATALOG[name].payoffs])
                for k in (0, 1))  # fmt: skip
    wanted = _best_row(row + col)
    while True:
        own, other = (
            np.sort(rng.choice(10, 4, replace=False))[table.ravel().argsort().argsort()]
            for table in (row, col)
        )
        mark = int(own @ (1, 2, 3, 4) + other @ (2, 5, 1, 3)) % HELD_OUT == 0
        own, other = own.reshape(2, 2), other.reshape(2, 2)
        if mark == held_out and _best_row(own + other) == wanted:
            return own, other


def _best_row(table: Tokens) -> int | None:
    """Return the row of the largest number; None where both have it."""
    rows = {int(i) for i, _ in np.argwhere(table == table.max())}
    return rows.pop() if len(rows) == 1 else None


def _chat(messages: Sequence[dict[str, str]]) -> str:
    """Write a chat as `nashlens.planted.recipes.CHAT_TEMPLATE` does."""
    lines = [f"<{message['role']}>{message['content']}\n" for message in messages]
    return "".join(lines) + "<assistant>"
