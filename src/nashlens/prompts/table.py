"""The prompts table: one row a decision prompt (`docs/reference/results.md`)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nashlens.errors import DataError
from nashlens.games.game import Game, families
from nashlens.prompts.design import LabelSets, PlannedHistory, plan_histories, surfaces
from nashlens.prompts.labels import (
    EncodedPrompt,
    PromptTokenizer,
    check_words,
    encode_labels,
    prompt_id,
)
from nashlens.prompts.positions import find_positions
from nashlens.prompts.render import (
    Message,
    Surface,
    View,
    content_free_messages,
    decision_messages,
    render,
)
from nashlens.prompts.targets import TARGETS, opponent_next
from nashlens.seeds import stream
from nashlens.strategies import cooperation, sample_action
from nashlens.vocabulary.positions import DECISION, position_column
from nashlens.vocabulary.targets import PROMPT_TARGETS


def build_prompts(
    games: Sequence[Game],
    tokenizer: PromptTokenizer,
    *,
    label_sets: LabelSets,
    system: str | None,
    assistant_prefix: str,
    positions: Sequence[str] = (DECISION,),
    **design: Any,
) -> pd.DataFrame:
    """Return the decision prompts of one model.

    Each game has histories, over which variants, seats, opponents, templates and label sets are
    spread (`design.plan_histories`). The decision is asked at each of `rounds` of a history and of
    its mirror image, in which both seats took the other action, in every label map and option
    order: so a habit of repeating the labels seen favours no action.

    Parameters
    ----------
    games : sequence of Game
    tokenizer : PromptTokenizer
        The model's.
    system : str or None
        System message.
    assistant_prefix : str
        Start of the answer.
    positions : sequence of str
        Each but the decision adds a column with its token (`nashlens.vocabulary.positions`).
    label_sets, **design
        As of `planned_decisions`.

    Returns
    -------
    pandas.DataFrame
        One row per history, mirror image of it, surface form and round; columns as documented. Rows
        may share a `prompt_id`. A game, history or round that is added at the end changes no other
        row; a template or label set that is added changes only which histories are asked in which
        (crossed, it changes no other row).

    Raises
    ------
    LabelError
        If the labels cannot be scored with this tokenizer, or a text holds a special token.
    DataError
        If there is no game, round, surface form or opponent.
    """
    further = [name for name in positions if name != DECISION]
    check_words(tokenizer, [system, assistant_prefix, *words_of(games, label_sets)])
    asked = Asked(tokenizer, system, assistant_prefix)
    decisions = planned_decisions(games, label_sets=label_sets, **design)
    rows = [_row(decision, asked, further) for decision in decisions]
    kinds = PROMPT_TARGETS | {position_column(name): "Int64" for name in further}
    return pd.DataFrame(rows).astype(kinds)


def words_of(games: Iterable[Game], label_sets: LabelSets) -> Iterator[str]:
    """Yield the labels, and what games are called in prompts."""
    for labels in label_sets.values():
        yield from () if isinstance(labels, str) else labels
    for game in games:
        yield from (game.title, *game.actions)


class Decision(NamedTuple):
    """One decision of the design: a history, and what its seat knows, in a surface form."""

    history: PlannedHistory
    view: View
    mirrored: bool
    """Whether the history is the mirror image of the one that was drawn."""

    @property
    def scenario_id(self) -> str:
        """What is asked, whatever its surface form."""
        mirrored = "/mirrored" if self.mirrored else ""
        return f"{self.history.match_id}/{self.view.round}{mirrored}"

    @property
    def block_id(self) -> str:
        """The scenario in one template and label set."""
        form = self.view.surface
        return f"{self.scenario_id}/{form.template}/{form.label_set}"

    def columns(self) -> dict[str, Any]:
        """Return what tables of decisions say of one."""
        view, form = self.view, self.view.surface
        return {
            "match_id": self.history.match_id,
            "scenario_id": self.scenario_id,
            "block_id": self.block_id,
            "game": view.game.name,
            "variant": view.game.variant,
            "seat": view.seat,
            "round": view.round,
            "template": form.template,
            "label_set": form.label_set,
            "label_kind": form.label_kind,
            "label_map": form.label_map,
            "option_order": form.option_order,
            "opponent": self.history.opponent,
            "mirrored": self.mirrored,
        }


def planned_decisions(
    games: Sequence[Game],
    *,
    templates: Sequence[str],
    label_sets: LabelSets,
    label_maps: Sequence[str],
    option_orders: Sequence[str],
    opponents: Sequence[str],
    own_cooperation: float,
    rounds: Sequence[int],
    histories: int,
    seed: int,
    crossed: Collection[str] = (),
    histories_of: Mapping[str, int | None] | None = None,
) -> Iterator[Decision]:
    """Yield every decision of the design, in the order of the prompts table.

    Parameters
    ----------
    games : sequence of Game
        Games with their variants; those of one name belong together.
    templates, label_maps, option_orders : sequence of str
    label_sets : mapping of str to two str, or to `actions`
        Pairs of labels by name; `actions` takes each game's own names of its actions.
    opponents : sequence of str
        Strategies of the other seat.
    own_cooperation : float
        Probability of action 0 in the seat's own past moves.
    rounds : sequence of int
        Rounds, from 1, at which the decision is asked.
    histories : int
        Histories of a game.
    seed : int
        The experiment's seed. A history's moves have a stream named by its match id.
    crossed : collection of str
        Any of `templates` and `label_sets`: each history is asked in all of them.
    histories_of : mapping of str to int or None, optional
        By game: another number of histories.

    Raises
    ------
    DataError
        If there is no game, round, surface form or opponent.
    """
    if not games or not rounds or min(rounds) < 1:
        raise DataError(f"prompts: {len(games)} games, rounds {list(rounds)}: give both, from 1 up")
    for name, family in families(games).items():
        planned = plan_histories(
            name,
            templates=templates,
            label_sets=list(label_sets),
            crossed=crossed,
            n_variants=len(family),
            opponents=opponents,
            histories=(histories_of or {}).get(name) or histories,
            seed=seed,
        )
        for history in planned:
            game = family[history.variant]
            rng = stream(seed, "history", history.match_id)
            drawn = draw_history(history.opponent, max(rounds) - 1, own_cooperation, rng)
            for mirrored, (template, label_set) in product((False, True), history.wordings):
                own, other = mirror(*drawn) if mirrored else drawn
                pair = {label_set: label_sets[label_set]}
                for form in surfaces([template], pair, label_maps, option_orders, game):
                    # Before the first round there is nothing to mirror.
                    for now in (now for now in rounds if now > 1 or not mirrored):
                        view = View(game, history.seat, form, own[: now - 1], other[: now - 1])
                        yield Decision(history, view, mirrored)


class Asked:
    """Texts and token ids of prompts in one tokenizer."""

    def __init__(self, tokenizer: PromptTokenizer, system: str | None, prefix: str):
        self.tokenizer, self.system, self.prefix = tokenizer, system, prefix
        self._priors: dict[Surface, EncodedPrompt] = {}

    @cached_property
    def template_note(self) -> str:
        """What is mended of the model's chat template, or stands in it that nobody wrote."""
        return self.tokenizer.template_note(system=bool(self.system))

    def encode(
        self, messages: Sequence[Message], labels: tuple[str, str]
    ) -> tuple[str, EncodedPrompt]:
        """Return a prompt's text, and its token ids with those of the labels."""
        text = render(messages, self.tokenizer.chat, self.prefix)
        return text, encode_labels(self.tokenizer, text, labels)

    def prior(self, form: Surface) -> EncodedPrompt:
        """Return the content-free prompt of a surface form."""
        if form not in self._priors:
            messages = content_free_messages(form, system=self.system)
            self._priors[form] = self.encode(messages, form.action_labels)[1]
        return self._priors[form]


def _row(decision: Decision, asked: Asked, positions: Sequence[str]) -> dict[str, Any]:
    history, view, mirrored = decision
    form = view.surface
    messages = decision_messages(view, system=asked.system)
    text, encoded = asked.encode(messages, form.action_labels)
    ids, prior = encoded.ids, asked.prior(form)
    needed, most = encoded.n_tokens_with_label, asked.tokenizer.max_length
    too_long = most is not None and needed > most
    places = find_positions(asked.tokenizer, view, text, ids, positions)
    return {
        "prompt_id": prompt_id(ids),
        **decision.columns(),
        "text": text,
        "token_ids": _array(ids),
        "n_tokens": len(ids),
        "decision_position": len(ids) - 1,
        **{position_column(name): token for name, token in places.items()},
        "label_0": form.label(0),
        "label_1": form.label(1),
        "label_tokens_0": _array(encoded.labels[0]),
        "label_tokens_1": _array(encoded.labels[1]),
        "label_shared": encoded.n_shared,
        "prior_id": prompt_id(prior.ids),
        "prior_token_ids": _array(prior.ids),
        **{name: target(view) for name, target in TARGETS.items()},
        "opponent_next": opponent_next(history.opponent, view, mirrored=mirrored),
        "template_note": asked.template_note,
        "dropped": f"{needed} tokens with the label, the model takes {most}" if too_long else "",
    }


def _array(ids: Sequence[int]) -> NDArray[np.int32]:
    return np.asarray(ids, dtype=np.int32)


def mirror(own: Sequence[int], other: Sequence[int]) -> tuple[list[int], list[int]]:
    """Return a history in which both seats took the other action in every round.

    Under the swapped label map it shows the labels that the history itself shows under identity: a
    model that repeats the labels it saw, whatever they mean, prefers opposite actions in the two.
    """
    return [1 - action for action in own], [1 - action for action in other]


def draw_history(
    opponent: str, length: int, own_cooperation: float, rng: np.random.Generator
) -> tuple[list[int], list[int]]:
    """Draw a history of a seat that moves at random against a scripted strategy.

    Parameters
    ----------
    opponent : str
        The other seat's strategy; RANDOM takes either action with probability 1/2.
    length : int
        Number of rounds to draw. A longer history starts with the shorter one.
    own_cooperation : float
        Probability of action 0 in the seat's own moves.
    rng : numpy.random.Generator
        Two numbers are drawn in each round.

    Returns
    -------
    own, other : list of int
        Actions of the seat and of the other seat.
    """
    own: list[int] = []
    other: list[int] = []
    for _ in range(length):
        reply = sample_action(cooperation(opponent, other, own), rng)
        own.append(sample_action(own_cooperation, rng))
        other.append(reply)
    return own, other
