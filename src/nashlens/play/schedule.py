"""Who meets whom: the matches of an experiment, each with a name that fixes its randomness."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from nashlens.games.game import Game
from nashlens.games.table import games_from_table
from nashlens.prompts.design import neutral_sets, surfaces
from nashlens.prompts.render import Surface
from nashlens.seeds import stream
from nashlens.vocabulary.play import PAIRINGS, Pairing

_NEARLY_FULL = 0.75  # of a chunk's matches, from where on it ends with its game
_MIRRORED = {
    "identity": "swapped",
    "swapped": "identity",
    "forward": "reversed",
    "reversed": "forward",
}


@dataclass(frozen=True)
class Bounds:
    """The most that is played of an agent's matches of one kind; None sets no bound."""

    rounds: int | None = None
    """Rounds of each match."""
    repetitions: int | None = None
    """Matches with each opponent, in each game."""
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
    self_play: Bounds = Bounds()
    cross_play: Bounds = Bounds()
    scripted: Bounds = Bounds()

    @classmethod
    def from_config(cls, name: str, config: Mapping[str, Any]) -> Agent:
        """Make an agent from its section in the configuration."""
        keys = dict(config)
        for kind in PAIRINGS:
            if kind in keys:
                keys[kind] = Bounds(**keys[kind])
        return cls(name, **keys)

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
    repetition: int
    surface: Surface
    move_order: str = "simultaneous"

    @property
    def match_id(self) -> str:
        """The match's name: game/row agent--column agent/repetition.

        Where the seats move in turn, the move order comes before the repetition.
        """
        turns = "" if self.move_order == "simultaneous" else f"{self.move_order}/"
        return f"{self.game.name}/{self.row.name}--{self.column.name}/{turns}{self.repetition}"

    def moves_second(self, seat: int) -> bool:
        """Return whether a seat (0 the row's, 1 the column's) moves after the other in a round."""
        return self.move_order == ("column_first", "row_first")[seat]

    def length(self, rounds: int) -> int:
        """Return how many rounds are played: the least of `rounds` and what the agents allow."""
        bounds = self.row.bounds(self.pairing) + self.column.bounds(self.pairing)
        return _least(rounds, *(bound.rounds for bound in bounds))


def _least(number: int, *bounds: int | None) -> int:
    return min([number, *(bound for bound in bounds if bound is not None)])


def surface_sequence(forms: Sequence[Surface], game: str, seed: int, count: int) -> list[Surface]:
    """Return the surface forms of a game's repetitions.

    A form is followed at once by its mirror image (labels swapped and options reversed) where the
    design has it, so that even a few repetitions cancel label and order preferences. Every
    pairing of a game uses the same sequence: agents then differ, and surfaces do not.

    Parameters
    ----------
    forms : sequence of Surface
        The full crossing.
    game : str
    seed : int
    count : int
        How many repetitions there are; forms repeat when they run out.
    """
    pending = [forms[i] for i in stream(seed, "surfaces", game).permutation(len(forms))]
    ordered: list[Surface] = []
    while pending:
        form = pending.pop(0)
        ordered.append(form)
        mirror = replace(
            form,
            label_map=_MIRRORED[form.label_map],
            option_order=_MIRRORED[form.option_order],
        )
        if mirror in pending:
            pending.remove(mirror)
            ordered.append(mirror)
    return [ordered[i % len(ordered)] for i in range(count)]


def games_of_play(games: pd.DataFrame, config: Mapping[str, Any]) -> list[Game]:
    """Return the games that are played, of a games table and the config's `matches`."""
    return games_from_table(games, without=config["matches"]["skip_games"])


def forms_of_play(config: Mapping[str, Any]) -> list[Surface]:
    """Return the surface forms of play: templates of `matches`, neutral labels of `prompts`."""
    prompts = config["prompts"]
    return surfaces(
        config["matches"]["templates"],
        neutral_sets(prompts["label_sets"]),
        prompts["label_maps"],
        prompts["option_orders"],
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
) -> list[Match]:
    """Return the matches of ordered pairs of agents over all games.

    Parameters
    ----------
    games : sequence of Game
        Games with their variants; repetition r plays variant r modulo their number.
    pairs : sequence of (Agent, Agent)
        Row agent, column agent.
    forms : sequence of Surface
    repetitions : int
        Matches of each pair of models.
    scripted_repetitions : int
        Matches of each pair of a model and a script. In its two seats the model meets a surface
        form and its mirror image, so that one repetition already cancels label and order
        preferences.
    seed : int
    move_orders : sequence of str
        Each pair of models plays its repetitions in each. A script answers to past rounds, never to
        this one's move, so its matches are only in the first of them.
    sequential_games : collection of str, optional
        Games that are played in row_first and column_first; None for all. In each move order the
        same repetition has the same surface form.

    Returns
    -------
    list of Match
        By game, then pair, then move order, then repetition.
    """
    families: dict[str, list[Game]] = {}
    for game in games:
        families.setdefault(game.name, []).append(game)
    matches = []
    for name, family in families.items():
        sequence = surface_sequence(forms, name, seed, max(repetitions, 2 * scripted_repetitions))
        in_turn = sequential_games is None or name in sequential_games
        orders = [order for order in move_orders if order == "simultaneous" or in_turn]
        for row, column in pairs:
            kind = pairing(row, column)
            bounds = row.bounds(kind) + column.bounds(kind)
            most = scripted_repetitions if kind == "scripted" else repetitions
            count = _least(most, *(bound.repetitions for bound in bounds))
            in_orders = kind != "scripted" and all(bound.sequential for bound in bounds)
            chosen = sequence
            if kind == "scripted":
                chosen = sequence[0 if row.model is not None else 1 :: 2]
            matches += [
                Match(family[r % len(family)], row, column, kind, r, form, order)
                for order in (orders if in_orders else orders[:1])
                for r, form in enumerate(chosen[:count])
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
        seats. Or two model agents: their matches in both orders of seats.
    self_play : bool
        Whether the first kind of group holds self-play.
    """
    first, others = agents[players[0]], [agents[name] for name in players[1:]]
    if len(others) == 1 and others[0].model is not None:
        return [(first, others[0]), (others[0], first)]
    pairs = [(first, first)] if self_play else []
    for other in others:
        pairs += [(first, other), (other, first)]
    return pairs


def split_into_chunks(matches: Sequence[Match], size: int) -> Iterator[list[Match]]:
    """Split matches into the chunks that advance together, at most `size` matches each.

    What is computed together depends only on the matches, not on how many jobs share them, so
    that results are the same to the bit for every number of jobs. A chunk that is nearly full
    ends where its game does. So a game of many matches has chunks of its own, and those of other
    games do not change with it, while games of few matches share a chunk, since a GPU generates
    for thirty matches in the time that eight take.
    """
    chunk: list[Match] = []
    for match in matches:
        game_ends = bool(chunk) and chunk[-1].game.name != match.game.name
        if len(chunk) == size or (game_ends and len(chunk) >= _NEARLY_FULL * size):
            yield chunk
            chunk = []
        chunk.append(match)
    if chunk:
        yield chunk
