"""Matches in lockstep: every round asks all agents of all matches at once.

`play_round` plays one round from the states of its matches and returns a `PlayedRound`: the rows of
the two tables, as plain values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from nashlens.games.equilibria import nash_action, prosocial_action
from nashlens.games.game import SEATS
from nashlens.play.modes import PendingDecision, decide_actions, write_messages
from nashlens.play.player import Player, PlaySettings
from nashlens.play.sampling import at_temperature
from nashlens.play.schedule import Match
from nashlens.prompts.render import Surface, View
from nashlens.seeds import entropy_hex, stream
from nashlens.vocabulary.prompts import LABEL_MAPS, OPTION_ORDERS

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


class PlayedRound(NamedTuple):
    """One round of a chunk of matches, as rows of the tables."""

    rows: list[dict[str, Any]]
    """Rows of the play table: two for each match that had not ended."""
    texts: list[dict[str, Any]]
    """Rows of the texts table."""


class SharedColumns(NamedTuple):
    """What is the same in all rows of a match and a seat."""

    before: dict[str, Any]
    """The columns before those of the round."""
    after: dict[str, Any]
    """The columns after them."""


@dataclass
class MatchState:
    """A match after some of its rounds."""

    match: Match
    rounds: int
    """Number of rounds to be played in all."""
    rng: np.random.Generator
    actions: tuple[list[int], list[int]] = field(default_factory=lambda: ([], []))
    """The row's and the column's, one a round played."""
    talk: list[tuple[str, str]] = field(default_factory=list)
    """The row's and the column's message, one pair a round in which messages were sent."""
    notes: list[str] = field(default_factory=lambda: ["", ""])
    """The row's and the column's private notes."""
    ended: bool = False
    """Whether an agent gave no valid answer, so that the match could not go on."""
    _shared: dict[int, SharedColumns] = field(default_factory=dict, repr=False)

    @property
    def unfinished(self) -> bool:
        """Whether there is a round left to play."""
        return not self.ended and len(self.actions[0]) < self.rounds

    def view(self, seat: int, settings: PlaySettings, seen: int | None = None) -> View:
        """Return what a seat knows; `seen` is the other's action if it has moved already."""
        return View(
            game=self.match.game,
            seat=SEATS[seat],
            surface=self.match.surface,
            own=self.actions[seat],
            other=self.actions[1 - seat],
            rounds_total=self.rounds if settings.horizon_known else None,
            move_order=self.match.move_order,
            seen=seen,
            window=settings.window,
            talk=[(pair[seat], pair[1 - seat]) for pair in self.talk],
            notes=self.notes[seat],
        )

    def shared_columns(self, seat: int, settings: PlaySettings) -> SharedColumns:
        """Return what all rows of a seat share; made once, since equilibria are solved for it."""
        if seat not in self._shared:
            self._shared[seat] = _shared_columns(self.match, self.rounds, seat, settings)
        return self._shared[seat]


def _shared_columns(match: Match, rounds: int, seat: int, settings: PlaySettings) -> SharedColumns:
    agent, opponent = (match.row, match.column) if seat == 0 else (match.column, match.row)
    before = {
        "match_id": match.match_id,
        "block_id": match.block_id,
        "scenario_id": match.scenario_id,
        "game": match.game.name,
        "variant": match.game.variant,
        "pairing": match.pairing,
        "move_order": match.move_order,
        "horizon": "known" if settings.horizon_known else "unknown",
        "match_rounds": rounds,
        "repetition": match.repetition,
        "round": 0,  # fixes the column's place; each row has its own
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
        "label_kind": match.surface.label_kind,
        "label_map": match.surface.label_map,
        "option_order": match.surface.option_order,
    }
    after = {
        "nash_action": nash_action(match.game, SEATS[seat]),
        "prosocial_action": prosocial_action(match.game, SEATS[seat]),
        "seed": entropy_hex(settings.seed, "match", match.draws_id),
    }
    return SharedColumns(before, after)


def play_rounds(
    matches: Sequence[Match],
    players: Callable[[], Mapping[str, Player]],
    settings: PlaySettings,
) -> list[PlayedRound]:
    """Play matches to their ends, in lockstep.

    The matches of a block draw the same two numbers a round (row, then column), from the stream of
    the block's name, and each text has a seed of its block's name, round and seat. So what happens
    in a match does not depend on which others are played. Doses of one player draw the same.

    Parameters
    ----------
    matches : sequence of Match
    players : callable
        Makes the players by model name.
    settings : PlaySettings

    Returns
    -------
    list of PlayedRound
    """
    states = [
        MatchState(
            match, match.length(settings.rounds), stream(settings.seed, "match", match.draws_id)
        )
        for match in matches
    ]
    by_model = players()
    rounds: list[PlayedRound] = []
    while unfinished := [state for state in states if state.unfinished]:
        rounds.append(play_round(unfinished, by_model, settings))
    return rounds


def play_round(
    states: Sequence[MatchState], players: Mapping[str, Player], settings: PlaySettings
) -> PlayedRound:
    """Play one round of every match, and bring its state up to date.

    Parameters
    ----------
    states : sequence of MatchState
        Matches that have a round left to play.
    players : mapping of str to Player
        By model name.
    settings : PlaySettings
    """
    draws = [state.rng.random(2) for state in states]
    texts = _talk(states, players, settings) if settings.talk_tokens else []
    beliefs: list[list[dict[str, Any] | None]] = [[None, None] for _ in states]
    actions: list[list[int | None]] = [[None, None] for _ in states]
    for second in (False, True):
        asked = [
            (k, seat)
            for k, state in enumerate(states)
            for seat in (0, 1)
            # Where the first mover gave no valid answer, the second has nothing to see.
            if state.match.moves_second(seat) == second
            and (not second or actions[k][1 - seat] is not None)
        ]
        decisions = [
            PendingDecision(
                states[k].match, seat, states[k].view(seat, settings, actions[k][1 - seat])
            )
            for k, seat in asked
        ]
        found = decide_actions(decisions, players, settings)
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
    return PlayedRound(rows, texts)


def _talk(
    states: Sequence[MatchState], players: Mapping[str, Player], settings: PlaySettings
) -> list[dict[str, Any]]:
    """Let both seats of every match send their messages; return the rows of the texts table."""
    speaking = [
        PendingDecision(state.match, seat, state.view(seat, settings))
        for state in states
        for seat in (0, 1)
    ]
    messages = write_messages(speaking, players, settings)
    for state, pair in zip(states, zip(messages[::2], messages[1::2], strict=True), strict=True):
        state.talk.append(pair)
    return [text for decision in speaking for text in decision.texts]


def _action(
    decision: PendingDecision, belief: Mapping[str, Any], draw: float, settings: PlaySettings
) -> int | None:
    """Return the action taken; None for an invalid answer where the answer is what counts."""
    agent, p = decision.agent, belief["p_action_0"]
    if agent.strategy is None:
        if agent.mode == "cot" and settings.cot is not None and settings.cot.answer == "parsed":
            parsed: int | None = belief["parsed_action"]
            return parsed
        p = at_temperature(p, settings.temperature)
        return _by_label(decision.match.surface, p, draw)
    return int(draw >= p)


def _by_label(surface: Surface, p_action_0: float, draw: float) -> int:
    """Return the action that a model takes: its pair's first label if the draw is below its chance.

    A draw then says the same of labels under both label maps, so in a block a player that goes by
    labels, or by places, takes both actions equally often, exactly. The draw is turned by a quarter
    where the first label is listed second: who goes by neither then plays four different matches.
    """
    swapped = surface.label_map == LABEL_MAPS[1]
    second = swapped != (surface.option_order == OPTION_ORDERS[1])
    p_first = 1.0 - p_action_0 if swapped else p_action_0
    takes_first = (draw + 0.25 * second) % 1.0 < p_first
    return int(takes_first == swapped)


def _row(
    state: MatchState,
    seat: int,
    belief: Mapping[str, Any],
    actions: Sequence[int | None],
    settings: PlaySettings,
) -> dict[str, Any]:
    payoffs = (np.nan, np.nan)
    row_action, column_action = actions
    if row_action is not None and column_action is not None:
        payoffs = state.match.game.payoff(row_action, column_action)
    shared = state.shared_columns(seat, settings)
    return {
        **shared.before,
        "round": len(state.actions[0]) + 1,
        **belief,
        "action": actions[seat],
        "opponent_action": actions[1 - seat],
        "payoff": payoffs[seat],
        "opponent_payoff": payoffs[1 - seat],
        **shared.after,
    }


def decisions_table(rounds: Iterable[PlayedRound]) -> pd.DataFrame:
    """Return the play table of some rounds."""
    frame = pd.DataFrame([row for played in rounds for row in played.rows])
    if frame.empty:
        return frame
    types: dict[str, Any] = dict.fromkeys(INTEGERS, "Int64") | dict.fromkeys(TEXTS, "str")
    return frame.astype(types)


def texts_table(rounds: Iterable[PlayedRound]) -> pd.DataFrame:
    """Return the texts table of some rounds; with all its columns where it has no row."""
    rows = [row for played in rounds for row in played.texts]
    frame = pd.DataFrame(rows, columns=list(TEXT_COLUMNS))
    integers, texts = ("round", "attempt", "n_tokens"), set(TEXT_COLUMNS)
    texts -= {*integers, "stopped"}
    types: dict[str, Any] = dict.fromkeys(sorted(texts), "str") | dict.fromkeys(integers, "int64")
    return frame.astype(types | {"stopped": "bool"})
