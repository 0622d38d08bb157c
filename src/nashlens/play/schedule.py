"""Who meets whom: the matches of an experiment, in blocks whose names fix their randomness.

A *block* of matches asks one scenario in every combination of label map and option order: the same
game, variant, agents and move order, one template and label set, and the same random draws. So what
a label or a place does is opposite within a block, and is no part of its mean.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import lcm
from typing import Any

import pandas as pd

from nashlens.games.game import Game, families
from nashlens.games.table import games_from_table
from nashlens.play.steered import PlayerIntervention
from nashlens.prompts.design import neutral_sets, surfaces
from nashlens.prompts.render import Surface
from nashlens.seeds import stream
from nashlens.vocabulary.play import PAIRINGS, Pairing

BLOCKS_PER_STRATUM = 4
"""Blocks of a game that share a template and a label set, where there are as many. An interval
rests on how blocks of one stratum differ, which fewer can hardly tell."""


@dataclass(frozen=True)
class Bounds:
    """The most that is played of an agent's matches of one kind; None sets no bound."""

    rounds: int | None = None
    """Rounds of each match."""
    repetitions: int | None = None
    """Matches with each opponent, in each game: whole blocks; 0 for none."""
    sequential: bool = True
    """Whether they are played in turn as well, where the game is."""


@dataclass(frozen=True)
class Agent:
    """A player: a model in a mode, or a scripted strategy."""

    name: str
    model: str | None = None
    mode: str = "direct"
    strategy: str | None = None
    p: float | None = None
    """The strategy's own number (`strategies.PARAMETERS`); None for its default."""
    rounds: int | None = None
    """The most rounds of any of its matches."""
    repetitions: int | None = None
    """The most matches with each opponent, in each game."""
    games: tuple[str, ...] | None = None
    """The only games of its matches; None for all that are played."""
    self_play: Bounds = Bounds()
    cross_play: Bounds = Bounds()
    scripted: Bounds = Bounds()
    intervention: PlayerIntervention | None = None
    """What is done to its residuals; None where it is not steered."""

    @property
    def player(self) -> str | None:
        """The name of its player: the model's, or its own where it is steered; None of a script."""
        return self.model if self.intervention is None else self.name

    @property
    def drawn_as(self) -> str:
        """Its name in random streams: steered players of one model and mode share their draws."""
        return self.name if self.intervention is None else f"{self.model}/{self.mode}/steered"

    @classmethod
    def from_config(cls, name: str, config: Mapping[str, Any]) -> Agent:
        """Make an agent from its section in the configuration."""
        keys = dict(config)
        if keys.get("games") is not None:
            keys["games"] = tuple(keys["games"])
        for kind in PAIRINGS:
            if kind in keys:
                keys[kind] = Bounds(**keys[kind])
        if keys.get("intervention") is not None:
            keys["intervention"] = PlayerIntervention.from_config(keys["intervention"])
        return cls(name, **keys)

    def plays(self, game: str) -> bool:
        """Say whether it plays a game, by the game's name."""
        return self.games is None or game in self.games

    def bounds(self, kind: Pairing) -> tuple[Bounds, Bounds]:
        """Return the bounds of all its matches, and those of its matches of one kind."""
        return Bounds(self.rounds, self.repetitions), getattr(self, kind)


@dataclass(frozen=True)
class Match:
    """One match: two agents, one game, one surface form, many rounds."""

    game: Game
    row: Agent
    column: Agent
    pairing: Pairing
    block: int
    repetition: int
    """Number of the match over all blocks of its agents in this game and move order."""
    surface: Surface
    move_order: str = "simultaneous"

    @property
    def scenario_id(self) -> str:
        """What the same block of all agents and move orders shares: game/block.

        It has one payoff variant, template and label set.
        """
        return f"{self.game.name}/{self.block}"

    @property
    def block_id(self) -> str:
        """The block's name: game/row agent--column agent/block.

        Where the seats move in turn, the move order comes before the block.
        """
        return self._block_name(self.row.name, self.column.name)

    @property
    def draws_id(self) -> str:
        """The name of the block's random draws: that of all doses of a player is the same."""
        return self._block_name(self.row.drawn_as, self.column.drawn_as)

    def _block_name(self, row: str, column: str) -> str:
        turns = "" if self.move_order == "simultaneous" else f"{self.move_order}/"
        return f"{self.game.name}/{row}--{column}/{turns}{self.block}"

    @property
    def match_id(self) -> str:
        """The match's name: its block's, label map and option order."""
        return f"{self.block_id}/{self.surface.label_map}-{self.surface.option_order}"

    def moves_second(self, seat: int) -> bool:
        """Return whether a seat (0 the row's, 1 the column's) moves after the other in a round."""
        return self.move_order == ("column_first", "row_first")[seat]

    def length(self, rounds: int) -> int:
        """Return how many rounds are played: the least of `rounds` and what the agents allow."""
        bounds = self.row.bounds(self.pairing) + self.column.bounds(self.pairing)
        return _least(rounds, *(bound.rounds for bound in bounds))


def _least(number: int, *bounds: int | None) -> int:
    return min([number, *(bound for bound in bounds if bound is not None)])


def blocks_of_forms(
    forms: Sequence[Surface], game: str, seed: int, count: int
) -> list[list[Surface]]:
    """Return the surface forms of each of a game's blocks.

    A block has every label map and option order of one template and label set, its stratum. Strata
    change every `BLOCKS_PER_STRATUM` blocks, templates and label sets at once; the last one takes
    the blocks that are left over. Every pairing of a game has the same blocks: agents then differ,
    and surfaces do not.

    Parameters
    ----------
    forms : sequence of Surface
        The full crossing.
    game : str
        Games start with different strata.
    seed : int
    count : int
        How many blocks there are; strata repeat when they run out.
    """
    members: dict[tuple[str, str], list[Surface]] = {}
    for form in forms:
        members.setdefault((form.template, form.label_set), []).append(form)
    rng = stream(seed, "strata", game)
    templates, sets = (
        [names[i] for i in rng.permutation(len(names))]
        for names in (list(dict.fromkeys(key[k] for key in members)) for k in (0, 1))
    )
    # Steps of one in both meet every combination, with another step each time they come round.
    turn = lcm(len(templates), len(sets))
    strata = [
        members[templates[k % len(templates)], sets[(k + k // turn) % len(sets)]]
        for k in range(len(members))
    ]
    last = max(count // BLOCKS_PER_STRATUM, 1) - 1
    return [strata[min(b // BLOCKS_PER_STRATUM, last) % len(strata)] for b in range(count)]


def games_of_play(games: pd.DataFrame, config: Mapping[str, Any]) -> list[Game]:
    """Return the games that are played, of a games table and the config's `matches`."""
    return games_from_table(games, without=config["matches"]["skip_games"])


def forms_of_play(config: Mapping[str, Any], game: Game) -> list[Surface]:
    """Return the surface forms of play in a game, whose own names may be labels.

    Templates and label sets are those of `matches`, the rest is of `prompts`. Without a choice of
    label sets, all neutral ones are used.
    """
    matches, prompts = config["matches"], config["prompts"]
    every, chosen = prompts["label_sets"], matches["label_sets"]
    sets = neutral_sets(every) if chosen is None else {name: every[name] for name in chosen}
    return surfaces(
        matches["templates"],
        sets,
        prompts["label_maps"],
        prompts["option_orders"],
        game,
    )


def schedule(
    games: Sequence[Game],
    pairs: Sequence[tuple[Agent, Agent]],
    forms: Sequence[Surface],
    *,
    repetitions: int,
    scripted_repetitions: int,
    seed: int,
    move_orders: Sequence[str] = ("simultaneous",),
    sequential_games: Collection[str] | None = None,
    sequential_repetitions: int | None = None,
) -> list[Match]:
    """Return the matches of ordered pairs of agents over all games.

    Parameters
    ----------
    games : sequence of Game
        Games with their variants; block b plays variant b modulo their number.
    pairs : sequence of (Agent, Agent)
        Row agent, column agent.
    forms : sequence of Surface
    repetitions : int
        Matches of each pair of models; what is no whole block is left out.
    scripted_repetitions : int
        Matches of each pair of a model and a script, likewise.
    seed : int
    move_orders : sequence of str
        Each pair of models plays its repetitions in each. A script answers to past rounds, never to
        this one's move, so its matches are only in the first of them.
    sequential_games : collection of str, optional
        Games that are played in row_first and column_first; None for all. In each move order the
        same repetition has the same surface form.
    sequential_repetitions : int, optional
        As `repetitions`, at most, in row_first and column_first; None for as many.

    Returns
    -------
    list of Match
        By game, then pair, then move order, then block.
    """
    matches = []
    for name, family in families(games).items():
        size = len({(form.label_map, form.option_order) for form in forms})
        most = max(repetitions, scripted_repetitions) // size
        blocks = blocks_of_forms(forms, name, seed, most)
        sequential = sequential_games is None or name in sequential_games
        orders = [order for order in move_orders if order == "simultaneous" or sequential]
        for row, column in pairs:
            if not (row.plays(name) and column.plays(name)):
                continue
            kind = pairing(row, column)
            bounds = row.bounds(kind) + column.bounds(kind)
            wanted = scripted_repetitions if kind == "scripted" else repetitions
            count = _least(wanted, *(bound.repetitions for bound in bounds)) // size
            in_orders = kind != "scripted" and all(bound.sequential for bound in bounds)
            in_turn = count if sequential_repetitions is None else sequential_repetitions // size
            matches += [
                Match(family[b % len(family)], row, column, kind, b, b * size + k, form, order)
                for order in (orders if in_orders else orders[:1])
                for b, block in enumerate(blocks[:count])
                if order == "simultaneous" or b < in_turn
                for k, form in enumerate(block)
            ]
    return matches


def pairing(row: Agent, column: Agent) -> Pairing:
    """Return the kind of a pair of agents."""
    if row.strategy or column.strategy:
        return "scripted"
    return "self_play" if row.name == column.name else "cross_play"


def pairs_of(
    agents: Mapping[str, Agent], players: Sequence[str], *, self_play: bool
) -> list[tuple[Agent, Agent]]:
    """Return the ordered pairs of a group of play.

    Parameters
    ----------
    agents : mapping of str to Agent
    players : sequence of str
        A model agent and scripted ones: its self-play, and its matches with each of them in both
        seats. Or two model agents: their matches in both orders of seats. Or all doses of a steered
        player with scripted ones and unsteered agents of its model: each dose's self-play and its
        matches with each of them; with an agent of another model these matches alone.
    self_play : bool
        Whether the first and the third kind of group hold self-play.
    """
    doses = [name for name in players if agents[name].intervention is not None]
    own = [agents[name] for name in doses or players[:1]]
    others = [agents[name] for name in players[len(own) :]]
    # Of two agents, or of one and a player of another model, this group has no more than they meet.
    if any(one.model and not (doses and one.model == own[0].model) for one in others):
        self_play = False
    pairs = []
    for first in own:
        pairs += [(first, first)] if self_play else []
        for other in others:
            pairs += [(first, other), (other, first)]
    return pairs
