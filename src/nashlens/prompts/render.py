"""The one builder of prompts, from what a seat knows: game, surface form, history.

`View` holds what a seat knows, `question_messages` asks it a question. The prompts of play in every
mode, of the quiz and for extraction (`decision_messages`) are all made here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import cached_property

from nashlens.errors import DataError
from nashlens.games.game import Game, check_seat
from nashlens.prompts import templates
from nashlens.vocabulary.prompts import LABEL_KINDS, LABEL_MAPS, MOVE_ORDERS, OPTION_ORDERS

Message = dict[str, str]


@dataclass(frozen=True)
class Surface:
    """A surface form: how a decision is put into words, whatever it is about."""

    template: str
    """A key of `templates.TEMPLATES`."""
    label_set: str
    """Name of the pair of labels."""
    labels: tuple[str, str]
    """The pair, as written in the config."""
    label_map: str = "identity"
    """`identity` gives the first label to action 0, `swapped` to action 1; for both players."""
    option_order: str = "forward"
    """`forward` lists action 0 first, `reversed` action 1."""
    label_kind: str = "neutral"
    """`neutral`, or `actions` where the labels are the game's own names of its actions."""

    def __post_init__(self) -> None:
        allowed = {
            "template": tuple(templates.TEMPLATES),
            "label_map": LABEL_MAPS,
            "option_order": OPTION_ORDERS,
            "label_kind": LABEL_KINDS,
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
        """The surface form in one word: template/label set/label map/option order."""
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


@dataclass(frozen=True)
class View:
    """What one seat of a match knows when it is asked a question."""

    game: Game
    seat: str
    """`row` or `column`; the prompt is from this seat's view."""
    surface: Surface
    own: Sequence[int]
    """This seat's actions, one a round played."""
    other: Sequence[int]
    """The other's actions."""
    rounds_total: int | None = None
    """Number of rounds that the prompt names; None leaves it open."""
    move_order: str = "simultaneous"
    seen: int | None = None
    """The other's action in this round, which a seat that moves second sees."""
    window: int | None = None
    """How many of the last rounds are shown; None shows all."""
    talk: Sequence[tuple[str, str]] = ()
    """Own and the other's message, one pair a round in which messages were sent; may be empty."""
    notes: str = ""
    """This seat's private notes."""

    def __post_init__(self) -> None:
        check_seat(self.seat)
        if self.move_order not in MOVE_ORDERS:
            raise DataError(f"move order {self.move_order!r}: must be one of {list(MOVE_ORDERS)}")
        if len(self.own) != len(self.other):
            raise DataError(
                f"histories of {len(self.own)} and {len(self.other)} rounds: "
                "both players have moved equally often"
            )
        if self.rounds_total is not None and self.round > self.rounds_total:
            raise DataError(
                f"round {self.round} of {self.rounds_total}: the match is over; ask no decision"
            )
        if self.seen is not None and self.turn != "second":
            raise DataError(f"the {self.seat} seat moves {self.turn} and sees no move beforehand")

    @property
    def round(self) -> int:
        """Number of this round, from 1."""
        return len(self.own) + 1

    @property
    def words(self) -> tuple[str, ...]:
        """What a config calls things here: the game, its actions, the labels."""
        return (self.game.title, *self.game.actions, *self.surface.labels)

    @property
    def turn(self) -> str:
        """When this seat moves: `together`, `first` or `second`."""
        if self.move_order == "simultaneous":
            return "together"
        return "first" if self.move_order == f"{self.seat}_first" else "second"

    @property
    def template(self) -> templates.Template:
        """The template of the surface form."""
        return templates.TEMPLATES[self.surface.template]

    def stem(self) -> list[str]:
        """Return the lines with which every later prompt of the match starts too.

        They are the rules, then the rounds played and the messages in them. With a `window` later
        prompts share only the rules.
        """
        lines = self._rules()
        for i in self._shown():
            if i < len(self.talk):
                lines.append(self._talk_line(i))
            lines.append(self._cell_line(self.template.played, self.own[i], self.other[i], i + 1))
        return lines

    def this_round(self) -> list[str]:
        """Return the lines of this round: messages, notes, and the other's move if it is seen."""
        lines = [self._talk_line(self.round - 1)] if len(self.talk) >= self.round else []
        if self.notes:
            lines.append(templates.NOTES.format(notes=self.notes))
        if self.seen is not None:
            fields = {"player": self.template.other, "seen": self.surface.label(self.seen)}
            lines.append(templates.SEEN.format(round=self.round, **fields))
        return lines

    @property
    def cell_lines(self) -> list[int]:
        """The numbers of the payoff cells' lines in `stem`, in the order in which they are listed.

        The options of both players are in the list's order, the other's faster.
        """
        first = 2 if self.template.heading else 1
        return list(range(first, first + 4))

    @property
    def round_lines(self) -> list[int]:
        """The numbers of the played rounds' lines in `stem`, the earliest first."""
        line, lines = self.cell_lines[-1] + 1, []
        for i in self._shown():
            line += 2 if i < len(self.talk) else 1
            lines.append(line)
        return lines

    def with_options(self, text: str, **fields: object) -> str:
        """Return a text with its two options filled in, in the order in which they are listed."""
        first, second = (self.surface.label(action) for action in self.surface.order)
        return text.format(first=first, second=second, **fields)

    def _shown(self) -> range:
        """Return the rounds played that the prompt shows, from 0."""
        past = len(self.own)
        return range(0 if self.window is None else max(0, past - self.window), past)

    def _rules(self) -> list[str]:
        template, order = self.template, self.surface.order
        rounds = _rounds_text(self.rounds_total)
        opening = template.opening.format(title=self.game.title, rounds=rounds)
        return [
            f"{opening} {self.with_options(getattr(template, self.turn))}",
            *([template.heading] if template.heading else []),
            *(self._cell_line(template.cell, own, other) for own in order for other in order),
            template.aim,
        ]

    def _talk_line(self, i: int) -> str:
        own, other = (f'"{text}"' if text else templates.NOTHING for text in self.talk[i])
        fields = {"own": own, "other": other, "player": self.template.other}
        return templates.SAID.format(round=i + 1, **fields)

    def _cell_line(self, text: str, own: int, other: int, round: int = 0) -> str:
        # Labels first: `label` refuses an action of -1, which as an index would pass.
        labels = self.surface.label(own), self.surface.label(other)
        own_payoff, other_payoff = self._payoffs[own][other]
        return text.format(
            round=round,
            own=labels[0],
            other=labels[1],
            own_payoff=own_payoff,
            other_payoff=other_payoff,
        )

    @cached_property
    def _payoffs(self) -> list[list[list[str]]]:
        """Own and the other's payoff in each cell, as written; kept, as each line needs them."""
        return [
            [
                [short_number(x) for x in self.game.seat_payoffs(self.seat, own, other)]
                for other in (0, 1)
            ]
            for own in (0, 1)
        ]


def question_messages(
    view: View, question: str, *, system: str | None, past_only: bool = False
) -> list[Message]:
    """Return the chat messages that ask one seat a question.

    Parameters
    ----------
    view : View
        What the seat knows.
    question : str
        The last line.
    system : str or None
        System message; None for none.
    past_only : bool
        Whether to leave out the lines of this round, for questions about the past.

    Returns
    -------
    list of dict
        `role` and `content` of each message: the system message if there is one, then one user
        message of rules, history and question.
    """
    lines = [*view.stem(), *([] if past_only else view.this_round()), question]
    return with_system("\n".join(lines), system)


def with_system(content: str, system: str | None) -> list[Message]:
    """Return a user message, after the system message if there is one."""
    user = {"role": "user", "content": content}
    return [user] if system is None else [{"role": "system", "content": system}, user]


def action_question(view: View, anchor: str | None = None) -> str:
    """Return the line that asks for an action.

    Parameters
    ----------
    view : View
    anchor : str, optional
        Start of the final-answer line. With it, the line also asks the agent to think first and to
        end with that line.
    """
    text = view.with_options(templates.QUESTION, round=view.round)
    return text if anchor is None else text + view.with_options(templates.THINK, anchor=anchor)


def belief_question(view: View) -> tuple[str, str]:
    """Return the question about the other's next move, and the start of its answer."""
    fields = {"round": view.round, "player": view.template.other}
    question, start = templates.EXPECT
    return view.with_options(question, **fields), start.format(**fields)


def decision_messages(view: View, *, system: str | None) -> list[Message]:
    """Return the chat messages that ask one seat for its next action; see `question_messages`.

    All but the last line is the start of the same message one round later.
    """
    return question_messages(view, action_question(view), system=system)


def content_free_messages(surface: Surface, *, system: str | None) -> list[Message]:
    """Return the messages that ask the same question about nothing: no game and no history."""
    first, second = (surface.label(action) for action in surface.order)
    question = templates.QUESTION.format(first=first, second=second, round=1)
    return with_system(question, system)


def _rounds_text(rounds_total: int | None) -> str:
    if rounds_total is None:
        return templates.UNKNOWN_HORIZON
    if rounds_total == 1:
        return templates.ONE_ROUND
    return templates.KNOWN_HORIZON.format(count=rounds_total)


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
        The tokenizer's `chat`: its template with the generation prompt.
    assistant_prefix : str
        Start of the answer; the label comes next.
    """
    return chat(list(messages)) + assistant_prefix
