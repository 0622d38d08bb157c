"""Matches in lockstep: every round asks all agents of all matches at once.

A round is played by `play_round` from the states of its matches and gives a `Round`: the rows of
the two tables, as plain values. Rounds rebuild the states (`restore`), so that a match goes on
from the last round that was kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from nashlens.games.equilibria import nash_action, prosocial_action
from nashlens.games.game import SEATS
from nashlens.play.modes import Decision, decide, message_of, quoted, talk
from nashlens.play.player import Player, Settings, tempered
from nashlens.play.schedule import Match
from nashlens.prompts.render import View
from nashlens.seeds import entropy_hex, stream

INTEGERS = (
    "nash_action",
    "prosocial_action",
    "n_tokens",
    "action",
    "opponent_action",
    "parsed_action",
    "attempts",
    "n_written",
)
TEXTS = ("model", "strategy", "mode", "prompt_id", "answer")
TEXT_COLUMNS = (
    "match_id", "game", "round", "seat", "agent", "model", "mode", "kind", "attempt", "prompt_id",
    "seed", "text", "n_tokens", "stopped", "answer",
)  # fmt: skip


class Round(NamedTuple):
    """What one round of a batch of matches leaves."""

    rows: list[dict[str, Any]]
    """Rows of the play table: two a match that was still on."""
    texts: list[dict[str, Any]]
    """Rows of the texts table."""


class Fixed(NamedTuple):
    """What is the same in all rows of a match and a seat: the columns before and after the rest."""

    before: dict[str, Any]
    after: dict[str, Any]


@dataclass
class State:
    """A match on its way."""

    match: Match
    rounds: int
    """How many are to be played."""
    rng: np.random.Generator
    actions: tuple[list[int], list[int]] = field(default_factory=lambda: ([], []))
    """Row's and column's."""
    said: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=lambda: ["", ""])
    ended: bool = False
    """An agent gave no valid answer, so the match could not go on."""
    _fixed: dict[int, Fixed] = field(default_factory=dict, repr=False)

    @property
    def on(self) -> bool:
        """There is a round left to play."""
        return not self.ended and len(self.actions[0]) < self.rounds

    def view(self, seat: int, settings: Settings, seen: int | None = None) -> View:
        """Return what a seat knows."""
        flip = slice(None) if seat == 0 else slice(None, None, -1)
        return View(
            self.match.game,
            SEATS[seat],
            self.match.surface,
            self.actions[seat],
            self.actions[1 - seat],
            self.rounds if settings.horizon_known else None,
            self.match.move_order,
            seen,
            settings.window,
            [pair[flip] for pair in self.said],  # type: ignore[misc]
            self.notes[seat],
        )

    def fixed(self, seat: int, settings: Settings) -> Fixed:
        """Return what all rows of a seat share; made once, since equilibria are solved for it."""
        if seat not in self._fixed:
            self._fixed[seat] = _fixed(self.match, self.rounds, seat, settings)
        return self._fixed[seat]


def _fixed(match: Match, rounds: int, seat: int, settings: Settings) -> Fixed:
    agent, opponent = (match.row, match.column) if seat == 0 else (match.column, match.row)
    before = {
        "match_id": match.match_id,
        "game": match.game.name,
        "variant": match.game.variant,
        "pairing": match.pairing,
        "move_order": match.move_order,
        "horizon": "known" if settings.horizon_known else "unknown",
        "match_rounds": rounds,
        "repetition": match.repetition,
        "round": 0,  # its place among the columns
        "row_agent": match.row.name,
        "column_agent": match.column.name,
        "seat": SEATS[seat],
        "agent": agent.name,
        "opponent": opponent.name,
        "model": agent.model,
        "strategy": agent.strategy,
        "mode": agent.mode if agent.model is not None else None,
        "template": match.surface.template,
        "label_set": match.surface.label_set,
        "label_map": match.surface.label_map,
        "option_order": match.surface.option_order,
    }
    after = {
        "nash_action": nash_action(match.game, SEATS[seat]),
        "prosocial_action": prosocial_action(match.game, SEATS[seat]),
        "seed": entropy_hex(settings.seed, "match", match.match_id),
    }
    return Fixed(before, after)


def play_matches(
    matches: Sequence[Match], players: Mapping[str, Player], settings: Settings
) -> pd.DataFrame:
    """Play matches to their ends, in lockstep, and return the play table's columns.

    See `play_rounds`, which also keeps what the agents wrote.
    """
    return decisions_table(play_rounds(matches, lambda: players, settings))


def play_rounds(
    matches: Sequence[Match],
    players: Callable[[], Mapping[str, Player]],
    settings: Settings,
    *,
    done: Sequence[Round] = (),
    keep: Callable[[Round], None] | None = None,
) -> list[Round]:
    """Play matches to their ends, in lockstep.

    Each match draws from the stream of its own name, two numbers a round (row, then column), and
    each text has a seed of its own, so that what happens in a match does not depend on what is
    played beside it.

    Parameters
    ----------
    matches : sequence of Match
    players : callable
        Makes the players by model name; called only if a round is left to play.
    settings : Settings
    done : sequence of Round, optional
        Rounds that were played before; they are not played again.
    keep : callable, optional
        Called with each new round.

    Returns
    -------
    list of Round
        `done` and the new ones.
    """
    states = [
        State(match, match.length(settings.rounds), stream(settings.seed, "match", match.match_id))
        for match in matches
    ]
    restore(states, done)
    rounds = list(done)
    if any(state.on for state in states):
        ready = players()
        while any(state.on for state in states):
            rounds.append(play_round([s for s in states if s.on], ready, settings))
            if keep is not None:
                keep(rounds[-1])
    return rounds


def restore(states: Iterable[State], rounds: Sequence[Round]) -> None:
    """Bring fresh states to where they stood after some rounds."""
    by_name = {state.match.match_id: state for state in states}
    for played in rounds:
        for row in played.rows:
            state, seat = by_name[row["match_id"]], SEATS.index(row["seat"])
            if seat == 0:
                state.rng.random(2)
            if row["action"] is None:
                state.ended = True
            else:
                state.actions[seat].append(row["action"])
        messages: dict[str, list[str]] = {}
        for text in played.texts:
            seat = SEATS.index(text["seat"])
            if text["kind"] == "notes":
                by_name[text["match_id"]].notes[seat] = quoted(text["text"])
            elif text["kind"] == "message":
                sent = messages.setdefault(text["match_id"], ["", ""])
                sent[seat] = message_of(text["text"])
        for name, (row_message, column_message) in messages.items():
            by_name[name].said.append((row_message, column_message))


def play_round(states: Sequence[State], players: Mapping[str, Player], settings: Settings) -> Round:
    """Play one round of every match, and bring its state up to date.

    Parameters
    ----------
    states : sequence of State
        Matches that are on.
    players : mapping of str to Player
        By model name.
    settings : Settings
    """
    draws = [state.rng.random(2) for state in states]
    texts = _talk(states, players, settings) if settings.talk_tokens else []
    beliefs: list[list[dict[str, Any] | None]] = [[None, None] for _ in states]
    actions: list[list[int | None]] = [[None, None] for _ in states]
    for turn in (0, 1):
        asked = [
            (k, seat)
            for k, state in enumerate(states)
            for seat in (0, 1)
            # Where the first mover gave no valid answer, there is nothing for the second to see.
            if state.match.turn(seat) == turn and (turn == 0 or actions[k][1 - seat] is not None)
        ]
        decisions = [
            Decision(states[k].match, seat, states[k].view(seat, settings, actions[k][1 - seat]))
            for k, seat in asked
        ]
        found = decide(decisions, players, settings)
        for (k, seat), decision, belief in zip(asked, decisions, found, strict=True):
            beliefs[k][seat] = belief
            actions[k][seat] = _action(decision, belief, float(draws[k][seat]), settings)
            states[k].notes[seat] = decision.view.notes
            texts += decision.texts
    rows = [
        _row(state, seat, belief, actions[k], settings)
        for k, state in enumerate(states)
        for seat, belief in enumerate(beliefs[k])
        if belief is not None
    ]
    for state, (row_action, column_action) in zip(states, actions, strict=True):
        if row_action is None or column_action is None:
            state.ended = True
        else:
            state.actions[0].append(row_action)
            state.actions[1].append(column_action)
    return Round(rows, texts)


def _talk(
    states: Sequence[State], players: Mapping[str, Player], settings: Settings
) -> list[dict[str, Any]]:
    asked = [
        Decision(state.match, seat, state.view(seat, settings))
        for state in states
        for seat in (0, 1)
    ]
    sent = talk(asked, players, settings)
    for k, state in enumerate(states):
        state.said.append((sent[2 * k], sent[2 * k + 1]))
    return [text for decision in asked for text in decision.texts]


def _action(
    decision: Decision, belief: Mapping[str, Any], draw: float, settings: Settings
) -> int | None:
    """Return what is done; None for an invalid answer where the answer is what counts."""
    agent, p = decision.agent, belief["p_action_0"]
    if agent.strategy is None:
        if agent.mode == "cot" and settings.cot.answer == "parsed":
            parsed: int | None = belief["parsed_action"]
            return parsed
        p = tempered(p, settings.temperature)
    return int(draw >= p)


def _row(
    state: State,
    seat: int,
    belief: Mapping[str, Any],
    actions: Sequence[int | None],
    settings: Settings,
) -> dict[str, Any]:
    payoffs = (np.nan, np.nan)
    row_action, column_action = actions
    if row_action is not None and column_action is not None:
        payoffs = state.match.game.payoff(row_action, column_action)
    fixed = state.fixed(seat, settings)
    return {
        **fixed.before,
        "round": len(state.actions[0]) + 1,
        **belief,
        "action": actions[seat],
        "opponent_action": actions[1 - seat],
        "payoff": payoffs[seat],
        "opponent_payoff": payoffs[1 - seat],
        **fixed.after,
    }


def decisions_table(rounds: Iterable[Round]) -> pd.DataFrame:
    """Return the play table of some rounds."""
    frame = pd.DataFrame([row for played in rounds for row in played.rows])
    if frame.empty:
        return frame
    types: dict[str, Any] = dict.fromkeys(INTEGERS, "Int64") | dict.fromkeys(TEXTS, "str")
    return frame.astype(types)


def texts_table(rounds: Iterable[Round]) -> pd.DataFrame:
    """Return the texts table of some rounds; with all its columns where it has no row."""
    rows = [row for played in rounds for row in played.texts]
    frame = pd.DataFrame(rows, columns=list(TEXT_COLUMNS))
    integers, texts = ("round", "attempt", "n_tokens"), set(TEXT_COLUMNS)
    texts -= {*integers, "stopped"}
    types: dict[str, Any] = dict.fromkeys(sorted(texts), "str") | dict.fromkeys(integers, "int64")
    return frame.astype(types | {"stopped": "bool"})
