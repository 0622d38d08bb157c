"""The one builder of decision prompts, from a game, a seat, a surface form and a history."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from nashlens.errors import DataError
from nashlens.games.game import Game, check_seat
from nashlens.prompts import templates

Message = dict[str, str]

LABEL_MAPS = ("identity", "swapped")
OPTION_ORDERS = ("forward", "reversed")


@dataclass(frozen=True)
class Surface:
    """A surface form: how a decision is put, beside what it is about."""

    template: str
    """A key of `templates.OPENINGS`."""
    label_set: str
    """Name of the pair of labels."""
    labels: tuple[str, str]
    """The pair, as written in the config."""
    label_map: str = "identity"
    """identity gives the first label to action 0, swapped to action 1; for both players."""
    option_order: str = "forward"
    """forward lists action 0 first, reversed action 1."""

    def __post_init__(self) -> None:
        allowed = {
            "template": templates.TEMPLATES,
            "label_map": LABEL_MAPS,
            "option_order": OPTION_ORDERS,
        }
        for field, values in allowed.items():
            if getattr(self, field) not in values:
                raise DataError(f"{field} {getattr(self, field)!r}: must be one of {list(values)}")
        if len(self.labels) != 2 or self.labels[0] == self.labels[1]:
            raise DataError(
                f"label set {self.label_set}: {list(self.labels)}: give two different labels"
            )

    @property
    def code(self) -> str:
        """The surface in one word: template/label set/label map/option order."""
        return f"{self.template}/{self.label_set}/{self.label_map}/{self.option_order}"

    @property
    def order(self) -> tuple[int, int]:
        """The two actions in the order in which they are listed."""
        return (0, 1) if self.option_order == "forward" else (1, 0)

    @property
    def action_labels(self) -> tuple[str, str]:
        """The labels of action 0 and of action 1."""
        return self.label(0), self.label(1)

    def label(self, action: int) -> str:
        """Return the label that stands for an action."""
        if action not in (0, 1):
            raise DataError(f"action {action!r}: must be 0 or 1")
        return self.labels[action if self.label_map == "identity" else 1 - action]


def decision_messages(
    game: Game,
    seat: str,
    surface: Surface,
    own_history: Sequence[int],
    other_history: Sequence[int],
    *,
    system: str | None,
    rounds_total: int | None,
) -> list[Message]:
    """Return the chat messages that ask one seat for its next action.

    Parameters
    ----------
    game : Game
        The stage game.
    seat : {'row', 'column'}
        Who is asked; the whole prompt is from this seat's view.
    surface : Surface
        How it is asked.
    own_history, other_history : sequence of int
        The actions of this seat and of the other one, one a round played.
    system : str or None
        System message; None for none.
    rounds_total : int or None
        How many rounds the agents are told there are; None leaves it open.

    Returns
    -------
    list of dict
        `role` and `content` of each message: the system message if there is one, then one user
        message of rules, history and question. All but its last line is the start of the same
        message one round later.

    Raises
    ------
    DataError
        If the histories differ in length, hold anything but 0 and 1, or leave no round to play.
    """
    check_seat(seat)
    if len(own_history) != len(other_history):
        raise DataError(
            f"histories of {len(own_history)} and {len(other_history)} rounds: "
            "both players have moved equally often"
        )
    now = len(own_history) + 1
    if rounds_total is not None and now > rounds_total:
        raise DataError(f"round {now} of {rounds_total}: the match is over; ask no decision")
    lines = _rules(game, seat, surface, rounds_total)
    for past, (own, other) in enumerate(zip(own_history, other_history, strict=True), start=1):
        lines.append(_cell(templates.PLAYED, game, seat, surface, own, other, past))
    lines.append(_options(templates.QUESTION, surface, round=now))
    messages = [{"role": "user", "content": "\n".join(lines)}]
    return messages if system is None else [{"role": "system", "content": system}, *messages]


def _rules(game: Game, seat: str, surface: Surface, rounds_total: int | None) -> list[str]:
    opening = templates.OPENINGS[surface.template]
    cells = [(own, other) for own in surface.order for other in surface.order]
    return [
        opening.format(title=game.title, rounds=_horizon(rounds_total))
        + " "
        + _options(templates.CHOICE, surface),
        *(_cell(templates.CELL, game, seat, surface, own, other) for own, other in cells),
        templates.AIM,
    ]


def _horizon(rounds_total: int | None) -> str:
    if rounds_total is None:
        return templates.UNKNOWN_HORIZON
    if rounds_total == 1:
        return templates.ONE_ROUND
    return templates.KNOWN_HORIZON.format(count=rounds_total)


def _options(text: str, surface: Surface, **fields: int) -> str:
    first, second = (surface.label(action) for action in surface.order)
    return text.format(first=first, second=second, **fields)


def _cell(
    text: str, game: Game, seat: str, surface: Surface, own: int, other: int, round: int = 0
) -> str:
    # Labels first: they refuse an action that is neither 0 nor 1, where an index of -1 would not.
    labels = surface.label(own), surface.label(other)
    own_payoff, other_payoff = game.view(seat, own, other)
    return text.format(
        round=round,
        own=labels[0],
        other=labels[1],
        own_payoff=short_number(own_payoff),
        other_payoff=short_number(other_payoff),
    )


def short_number(value: Fraction) -> str:
    """Return a payoff as people write it: 3, 0.5, -1; never in scientific notation."""
    if value.denominator == 1:
        return str(value.numerator)
    return format(Decimal(repr(float(value))), "f")


def render(
    messages: Sequence[Message],
    chat: Callable[[list[Message]], str],
    assistant_prefix: str,
) -> str:
    """Return a prompt's text: the chat, ready for the answer, and the answer's start.

    Parameters
    ----------
    messages : sequence of dict
        From `decision_messages`.
    chat : callable
        The tokenizer's `chat` (its template with the generation prompt), or `plain_text`.
    assistant_prefix : str
        Start of the answer; the label comes next.
    """
    return chat(list(messages)) + assistant_prefix


def plain_text(messages: Sequence[Message]) -> str:
    """Return messages as plain text, for models without a chat template."""
    return "".join(message["content"] + "\n\n" for message in messages if message["content"])
