"""Counterfactual pairs: prompts that differ in one thing, aligned token by token.

Kinds of pairs (the *base* is a decision prompt of the design, the *source* differs from it):

- `payoffs`: the seat's own payoffs of its two actions are exchanged, in the payoff sentences and in
  the rounds played, so that its Nash action becomes the other one;
- `history`: the opponent's last move is the other action;
- `labels`: the other label map, so that each action has the other's label;
- `order`: the other option order.

A pair of a pair is the pair: changing the source in the same thing gives the base.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from nashlens.errors import DataError, LabelError
from nashlens.games import nash_action, prosocial_action
from nashlens.games.game import Game
from nashlens.prompts.groups import differing_groups, token_groups
from nashlens.prompts.labels import EncodedPrompt, prompt_id
from nashlens.prompts.render import View, decision_messages
from nashlens.prompts.table import Asked, Decision
from nashlens.vocabulary.pairs import PAIR_KINDS
from nashlens.vocabulary.positions import OPENING
from nashlens.vocabulary.prompts import LABEL_MAPS, OPTION_ORDERS

_PAYOFFS, _ROUNDS = "payoff_", "round_last"
_CHANGED = {
    "payoffs": (_PAYOFFS, _ROUNDS),
    "history": (_ROUNDS,),
    "labels": (OPENING, _PAYOFFS, _ROUNDS, "option_"),
    "order": (OPENING, _PAYOFFS, "option_"),
}
"""Kind -> how the names of the groups start in which the two prompts may differ."""


def exchange_payoffs(game: Game, seat: str) -> Game:
    """Return a game in which a seat's own payoffs of its two actions are exchanged."""
    ((a, b), (c, d)) = game.payoffs
    if seat == "row":
        cells = (
            ((c[0], a[1]), (d[0], b[1])),
            ((a[0], c[1]), (b[0], d[1])),
        )
    else:
        cells = (
            ((a[0], b[1]), (b[0], a[1])),
            ((c[0], d[1]), (d[0], c[1])),
        )
    return replace(game, payoffs=cells)


def _other_payoffs(view: View) -> View:
    return replace(view, game=exchange_payoffs(view.game, view.seat))


def _other_move(view: View) -> View:
    if not view.other:
        raise DataError("there is no last move to exchange")
    return replace(view, other=[*view.other[:-1], 1 - view.other[-1]])


def _other_map(view: View) -> View:
    form = view.surface
    other = LABEL_MAPS[1 - LABEL_MAPS.index(form.label_map)]
    return replace(view, surface=replace(form, label_map=other))


def _other_order(view: View) -> View:
    form = view.surface
    other = OPTION_ORDERS[1 - OPTION_ORDERS.index(form.option_order)]
    return replace(view, surface=replace(form, option_order=other))


CHANGES: dict[str, Callable[[View], View]] = {
    "payoffs": _other_payoffs,
    "history": _other_move,
    "labels": _other_map,
    "order": _other_order,
}
"""Kind -> from what the seat knows to what it knows in the other prompt."""


def counterfactual(view: View, kind: str) -> View:
    """Return what the seat knows in the other prompt of a pair.

    Parameters
    ----------
    view : View
    kind : str
        One of `nashlens.vocabulary.pairs.PAIR_KINDS`.

    Raises
    ------
    DataError
        If there is no such kind, or nothing of that kind to change.
    """
    if kind not in CHANGES:
        raise DataError(f"pairs of kind {kind!r}: must be one of {list(PAIR_KINDS)}")
    return CHANGES[kind](view)


def build_pairs(
    decisions: Iterable[Decision], asked: Asked, *, kinds: Sequence[str], games: Sequence[str]
) -> pd.DataFrame:
    """Return the pairs of one model.

    Parameters
    ----------
    decisions : iterable of Decision
        From `nashlens.prompts.table.planned_decisions`; those in neutral labels are used.
    asked : Asked
        The model's tokenizer, with the system message and the start of the answer.
    kinds : sequence of str
        Any of `nashlens.vocabulary.pairs.PAIR_KINDS`.
    games : sequence of str
        Only the decisions of these games.

    Returns
    -------
    DataFrame
        The pairs table, one row a decision and kind. `dropped` says why a pair is not used; its
        prompts are then missing or not aligned.
    """
    rows = [
        _pair(decision, kind, asked)
        for decision in decisions
        if decision.view.game.name in games and decision.view.surface.label_kind == "neutral"
        for kind in kinds
    ]
    actions = ["nash_action", "source_nash_action", "source_prosocial_action"]
    moves = ["opponent_last", "source_opponent_last"]
    return pd.DataFrame(rows).astype(dict.fromkeys([*actions, *moves], "Int64"))


def _pair(decision: Decision, kind: str, asked: Asked) -> dict[str, Any]:
    view, form = decision.view, decision.view.surface
    text, base = _encoded(view, asked)
    row: dict[str, Any] = {
        "pair_id": f"{decision.block_id}/{form.label_map}/{form.option_order}/{kind}",
        "kind": kind,
        "prompt_id": prompt_id(base.ids),
        **decision.columns(),
        "nash_action": nash_action(view.game, view.seat),
        "source_nash_action": None,
        "source_prosocial_action": None,
        "opponent_last": view.other[-1] if view.other else None,
        "source_opponent_last": None,
        "label_tokens_0": _array(base.labels[0]),
        "label_tokens_1": _array(base.labels[1]),
        "ids": _array(base.ids),
        "source_ids": _array([]),
        "groups": [],
        "changed": [],
        "dropped": "",
    }
    try:
        other = counterfactual(view, kind)
        source_text, source = _encoded(other, asked)
        row["source_ids"] = _array(source.ids)
        row["source_nash_action"] = nash_action(other.game, other.seat)
        row["source_prosocial_action"] = prosocial_action(other.game, other.seat)
        row["source_opponent_last"] = other.other[-1] if other.other else None
        row["groups"] = token_groups(asked.tokenizer, view, text, base.ids)
        row["dropped"] = _problem(row, base, source)
        if len(base.ids) == len(source.ids):
            row["changed"] = differing_groups(row["groups"], base.ids, source.ids)
            theirs = token_groups(asked.tokenizer, other, source_text, source.ids)
            row["dropped"] = row["dropped"] or _shifted(row["groups"], theirs)
            row["dropped"] = row["dropped"] or _misplaced(row["changed"], kind)
    except (DataError, LabelError) as error:
        row["dropped"] = str(error)
    return row


def _encoded(view: View, asked: Asked) -> tuple[str, EncodedPrompt]:
    messages = decision_messages(view, system=asked.system)
    return asked.encode(messages, view.surface.action_labels)


def _problem(row: dict[str, Any], base: EncodedPrompt, source: EncodedPrompt) -> str:
    """Return why a pair cannot be used; empty where it can."""
    if len(base.ids) != len(source.ids):
        return f"not aligned: {len(base.ids)} and {len(source.ids)} tokens"
    if base.ids == source.ids:
        return "the two prompts are the same"
    labels = source.labels[::-1] if row["kind"] == "labels" else source.labels
    if base.labels != labels:
        return "the labels have other tokens in the other prompt"
    if row["kind"] != "payoffs":
        return ""
    actions = row["nash_action"], row["source_nash_action"]
    return "" if None not in actions and actions[0] != actions[1] else "no Nash action that flips"


def _shifted(groups: Sequence[str], theirs: Sequence[str]) -> str:
    """Return where the pieces of the two prompts have other lengths; empty where none has."""
    wrong = dict.fromkeys(a for a, b in zip(groups, theirs, strict=True) if a != b)
    return f"not aligned: {', '.join(wrong)} of other lengths" if wrong else ""


def _misplaced(changed: Sequence[str], kind: str) -> str:
    """Return where tokens differ that are not meant to; empty where none does."""
    wrong = [name for name in changed if not name.startswith(_CHANGED[kind])]
    return f"not aligned: other tokens in {', '.join(wrong)} as well" if wrong else ""


def _array(ids: Sequence[int]) -> np.ndarray:
    return np.asarray(ids, dtype=np.int32)
