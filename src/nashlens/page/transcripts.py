"""What each agent saw in a match, put together from what it did: by the builder of all prompts.

The tables of play hold every move, message and note, and the surface form, but no prompt. A prompt
is a function of these, so its lines are made again; tests compare their tokens with `prompt_id`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nashlens.games.game import SEATS, Game
from nashlens.play.quotes import message_of, quotable
from nashlens.prompts import templates
from nashlens.prompts.design import game_labels
from nashlens.prompts.render import Surface, View, action_question, belief_question

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Wording:
    """What the config says about the words of play."""

    label_sets: Mapping[str, Sequence[str] | str]
    window: int | None = None
    """How many of the last rounds are shown; None shows all."""
    anchor: str = templates.ANCHOR
    """Start of the final-answer line, in mode cot."""

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Wording:
        """Read it from a slice of the config."""
        cot = config.get("modes", {}).get("cot") or {}
        return cls(
            label_sets=config["prompts"]["label_sets"],
            window=config.get("matches", {}).get("history_window"),
            anchor=cot.get("anchor", templates.ANCHOR),
        )


@dataclass(frozen=True)
class SeenRound:
    """What one seat saw in one round besides the rules, as lines."""

    told: str | None
    """The line with both messages; None where none were sent."""
    more: list[str]
    """Notes and the other's move, where the seat sees them."""
    question: str
    played: str | None
    """The line that later rounds show of this one; None for the last round."""
    expected: str | None = None
    """Mode predict: the question about the other, asked before."""


@dataclass
class Transcript:
    """One seat of one match."""

    rules: list[str]
    rounds: list[SeenRound] = field(default_factory=list)

    def prompt(self, number: int, window: int | None) -> str:
        """Return the message of a round, from 1: rules, the rounds shown, and the question."""
        first = 0 if window is None else max(0, number - 1 - window)
        lines = list(self.rules)
        for past in self.rounds[first : number - 1]:
            lines += [line for line in (past.told, past.played) if line is not None]
        now = self.rounds[number - 1]
        return "\n".join([*lines, *([now.told] if now.told else []), *now.more, now.question])


def transcripts(
    rounds: Sequence[tuple[Row, Row]], texts: Sequence[Row], game: Game, wording: Wording
) -> tuple[Transcript, Transcript]:
    """Return what the row and the column seat of a match saw.

    Parameters
    ----------
    rounds : sequence of (row's row, column's row) of the play table
        All rounds of one match, in order. A seat that was never asked may be missing (empty).
    texts : sequence of rows of the texts table
        Of the match.
    game : Game
    wording : Wording
    """
    first = rounds[0][0] or rounds[0][1]
    surface = Surface(
        template=first["template"],
        label_set=first["label_set"],
        labels=game_labels(wording.label_sets[first["label_set"]], game),
        label_map=first["label_map"],
        option_order=first["option_order"],
        label_kind=first["label_kind"],
    )
    said = list(_messages(texts, len(rounds)))
    notes = {
        (text["seat"], int(text["round"])): quotable(text["text"])
        for text in texts
        if text["kind"] == "notes"
    }
    found = []
    for seat in (0, 1):
        moves = [_moves(pair, seat) for pair in rounds]
        found.append(_seat(rounds, moves, said, notes, seat, game, surface, wording))
    return found[0], found[1]


def _moves(pair: tuple[Row, Row], seat: int) -> tuple[Any, Any]:
    """Return the own and the other's action; None where it is missing."""
    own = pair[seat]
    if own:
        return _action(own["action"]), _action(own["opponent_action"])
    other = pair[1 - seat]
    return _action(other["opponent_action"]), _action(other["action"])


def _action(value: Any) -> int | None:
    return None if value is None or value != value else int(value)


def _messages(texts: Sequence[Row], rounds: int) -> Iterator[tuple[str, str]]:
    """Yield the row's and the column's message of each round; nothing where none were sent."""
    by_round: dict[int, list[str]] = {}
    for text in texts:
        if text["kind"] == "message":
            pair = by_round.setdefault(int(text["round"]), ["", ""])
            pair[SEATS.index(text["seat"])] = message_of(text["text"])
    for number in range(1, rounds + 1):
        if number in by_round:
            yield by_round[number][0], by_round[number][1]


def _seat(
    rounds: Sequence[tuple[Row, Row]],
    moves: Sequence[tuple[Any, Any]],
    said: Sequence[tuple[str, str]],
    notes: Mapping[tuple[str, int], str],
    seat: int,
    game: Game,
    surface: Surface,
    wording: Wording,
) -> Transcript:
    first = rounds[0][0] or rounds[0][1]
    total = int(first["match_rounds"]) if first["horizon"] == "known" else None
    common: dict[str, Any] = {
        "game": game,
        "seat": SEATS[seat],
        "surface": surface,
        "rounds_total": total,
        "move_order": first["move_order"],
        "talk": [(pair[seat], pair[1 - seat]) for pair in said],
    }
    # The last round is never shown to anyone: of a match that broke off it has no moves.
    past = list(moves[:-1])
    whole = View(own=[m[0] for m in past], other=[m[1] for m in past], **common)
    stem = whole.stem()
    played = [stem[line] for line in whole.round_lines]
    transcript = Transcript(stem[: whole.cell_lines[-1] + 2])
    for k, pair in enumerate(rounds):
        own = pair[seat]
        before = past[:k]
        view = View(
            own=[m[0] for m in before],
            other=[m[1] for m in before],
            seen=moves[k][1] if _second(first["move_order"], seat) else None,
            notes=notes.get((SEATS[seat], k + 1), ""),
            **common,
        )
        lines = view.this_round()
        told = lines.pop(0) if k < len(said) else None
        mode = own.get("mode") if own else None
        predicts = mode == "predict" and view.seen is None
        transcript.rounds.append(
            SeenRound(
                told=told,
                more=lines,
                question=action_question(view, wording.anchor if mode == "cot" else None),
                played=played[k] if k < len(played) else None,
                expected=belief_question(view)[0] if predicts else None,
            )
        )
    return transcript


def _second(move_order: str, seat: int) -> bool:
    return move_order != "simultaneous" and move_order != f"{SEATS[seat]}_first"
