"""Matches in lockstep: every round asks all agents of all matches at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd

from nashlens.engine.core import label_probabilities
from nashlens.engine.labels import LabelledPrompt
from nashlens.errors import DataError
from nashlens.games.equilibria import nash_action, prosocial_action
from nashlens.games.game import SEATS
from nashlens.play.schedule import Agent, Match
from nashlens.prompts.labels import ChatTokenizer, encode_many, prompt_id
from nashlens.prompts.render import decision_messages, render
from nashlens.seeds import entropy_hex, stream
from nashlens.strategies import cooperation

INTEGERS = ("nash_action", "prosocial_action", "n_tokens")
TEXTS = ("model", "strategy", "mode", "prompt_id")


class Scorer(Protocol):
    """What play needs of an engine: `nashlens.engine.session.Session` is one."""

    def label_logprobs(self, prompts: Sequence[LabelledPrompt]) -> np.ndarray:
        """Return `(n, 2)` log P of each prompt's two labels."""


@dataclass(frozen=True)
class Player:
    """A model as a player: how it reads text and how its labels are scored."""

    tokenizer: ChatTokenizer
    scorer: Scorer


@dataclass(frozen=True)
class Settings:
    """What is the same for all matches."""

    rounds: int
    temperature: float
    """0 takes the likelier action."""
    horizon_known: bool
    system: str | None
    assistant_prefix: str
    seed: int


@dataclass(frozen=True)
class _Decision:
    """One seat of one match in one round, before it is decided."""

    match: Match
    seat: int
    agent: Agent
    own: list[int]
    other: list[int]


def tempered(p_action_0: float, temperature: float) -> float:
    """Return P(action 0) at a sampling temperature: p^(1/T), renormalised; 0 is greedy.

    A tie under greedy goes to action 0.
    """
    if temperature == 0:
        return 1.0 if p_action_0 >= 0.5 else 0.0
    if p_action_0 in (0.0, 1.0):
        return p_action_0
    odds = (np.log1p(-p_action_0) - np.log(p_action_0)) / temperature
    return float(1.0 / (1.0 + np.exp(np.clip(odds, -700, 700))))


def play_matches(
    matches: Sequence[Match], players: Mapping[str, Player], settings: Settings
) -> pd.DataFrame:
    """Play matches to their ends, in lockstep.

    Each match draws from the stream of its own name, two numbers a round (row, then column), so
    that its moves do not depend on what is played beside it.

    Parameters
    ----------
    matches : sequence of Match
    players : mapping of str to Player
        By model name.
    settings : Settings

    Returns
    -------
    pandas.DataFrame
        The play table's columns: two rows a match and round.
    """
    histories: list[tuple[list[int], list[int]]] = [([], []) for _ in matches]
    streams = [stream(settings.seed, "match", match.match_id) for match in matches]
    rows: list[dict[str, Any]] = []
    for _ in range(settings.rounds):
        decisions = [
            _Decision(match, seat, agent, history[seat], history[1 - seat])
            for match, history in zip(matches, histories, strict=True)
            for seat, agent in enumerate((match.row, match.column))
        ]
        beliefs = _decide(decisions, players, settings)
        for k, (match, history) in enumerate(zip(matches, histories, strict=True)):
            actions = []
            for seat in (0, 1):
                belief = beliefs[2 * k + seat]
                p = belief["p_action_0"]
                if decisions[2 * k + seat].agent.strategy is None:
                    p = tempered(p, settings.temperature)
                actions.append(int(streams[k].random() >= p))
            rows += [
                _row(match, seat, history, beliefs[2 * k + seat], actions, settings)
                for seat in (0, 1)
            ]
            history[0].append(actions[0])
            history[1].append(actions[1])
    frame = pd.DataFrame(rows)
    types: dict[str, Any] = dict.fromkeys(INTEGERS, "Int64") | dict.fromkeys(TEXTS, "str")
    return frame.astype(types)


def _decide(
    decisions: Sequence[_Decision], players: Mapping[str, Player], settings: Settings
) -> list[dict[str, Any]]:
    """Return what each decision's agent would do: its probabilities and how they were got."""
    beliefs: list[dict[str, Any]] = [{} for _ in decisions]
    asked: dict[str, list[int]] = {}
    for i, decision in enumerate(decisions):
        agent = decision.agent
        if agent.strategy is not None:
            p = cooperation(agent.strategy, decision.own, decision.other, agent.p)
            nothing = {"prompt_id": None, "n_tokens": None, "label_mass": np.nan}
            beliefs[i] = {"p_action_0": p, "p_action_1": 1.0 - p, **nothing}
        else:
            asked.setdefault(str(agent.model), []).append(i)
    for model, indices in asked.items():
        player = players[model]
        prompts = _prompts([decisions[i] for i in indices], player.tokenizer, settings)
        chances, mass = label_probabilities(player.scorer.label_logprobs(prompts))
        for k, i in enumerate(indices):
            beliefs[i] = {
                "p_action_0": float(chances[k, 0]),
                "p_action_1": float(chances[k, 1]),
                "prompt_id": prompt_id(prompts[k].ids),
                "n_tokens": len(prompts[k].ids),
                "label_mass": float(mass[k]),
            }
    return beliefs


def _prompts(
    decisions: Sequence[_Decision], tokenizer: ChatTokenizer, settings: Settings
) -> list[LabelledPrompt]:
    texts = [_text(decision, tokenizer, settings) for decision in decisions]
    labels = [decision.match.surface.action_labels for decision in decisions]
    prompts = []
    for decision, encoded in zip(decisions, encode_many(tokenizer, texts, labels), strict=True):
        ids, *tokens = encoded
        longest = len(ids) + max(len(label) for label in tokens)
        if tokenizer.max_length is not None and longest > tokenizer.max_length:
            raise DataError(
                f"{decision.match.match_id}: round {len(decision.own) + 1} needs {longest} tokens "
                f"and {tokenizer.name} takes {tokenizer.max_length}; set matches.rounds lower"
            )
        prompts.append(LabelledPrompt(ids, (tokens[0], tokens[1])))
    return prompts


def _text(decision: _Decision, tokenizer: ChatTokenizer, settings: Settings) -> str:
    messages = decision_messages(
        decision.match.game,
        SEATS[decision.seat],
        decision.match.surface,
        decision.own,
        decision.other,
        system=settings.system,
        rounds_total=settings.rounds if settings.horizon_known else None,
    )
    return render(messages, tokenizer.chat, settings.assistant_prefix)


def _row(
    match: Match,
    seat: int,
    history: tuple[list[int], list[int]],
    belief: dict[str, Any],
    actions: Sequence[int],
    settings: Settings,
) -> dict[str, Any]:
    agent, opponent = (match.row, match.column) if seat == 0 else (match.column, match.row)
    payoffs = match.game.payoff(actions[0], actions[1])
    return {
        "match_id": match.match_id,
        "game": match.game.name,
        "variant": match.game.variant,
        "pairing": match.pairing,
        "repetition": match.repetition,
        "round": len(history[0]) + 1,
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
        **belief,
        "action": actions[seat],
        "opponent_action": actions[1 - seat],
        "payoff": payoffs[seat],
        "opponent_payoff": payoffs[1 - seat],
        "nash_action": nash_action(match.game, SEATS[seat]),
        "prosocial_action": prosocial_action(match.game, SEATS[seat]),
        "seed": entropy_hex(settings.seed, "match", match.match_id),
    }
