"""The prompts table: one row per decision prompt (`docs/reference/results.md`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from nashlens.errors import DataError
from nashlens.games.equilibria import best_response, nash_action, prosocial_action
from nashlens.games.game import Game
from nashlens.prompts.design import Cell, assign, surfaces
from nashlens.prompts.labels import ChatTokenizer, encode_labels, prompt_id
from nashlens.prompts.render import content_free_messages, decision_messages, render
from nashlens.seeds import stream
from nashlens.strategies import cooperation, sample_action
from nashlens.vocabulary.targets import PROMPT_TARGETS

_COLUMNS = (
    "prompt_id",
    "match_id",
    "game",
    "variant",
    "seat",
    "round",
    "template",
    "label_set",
    "label_map",
    "option_order",
    "opponent",
    "text",
    "token_ids",
    "n_tokens",
    "decision_position",
    "label_0",
    "label_1",
    "label_tokens_0",
    "label_tokens_1",
    "prior_id",
    "prior_token_ids",
    # Undefined where there is no last round, or the game leaves it open.
    *PROMPT_TARGETS,
    "dropped",
)


def build_prompts(
    games: Sequence[Game],
    tokenizer: ChatTokenizer,
    *,
    templates: Sequence[str],
    label_sets: Mapping[str, Sequence[str]],
    label_maps: Sequence[str],
    option_orders: Sequence[str],
    opponents: Sequence[str],
    own_cooperation: float,
    rounds: Sequence[int],
    histories: int,
    system: str | None,
    assistant_prefix: str,
    seed: int,
) -> pd.DataFrame:
    """Return the decision prompts of one model.

    Every game, surface form and history index is one match; the decision is asked at each of
    `rounds` of that match's history. Variants, seats and opponents are spread over the matches
    (`design.assign`).

    Parameters
    ----------
    games : sequence of Game
        Games with their variants; those of one name belong together.
    tokenizer : ChatTokenizer
        The model's.
    templates, label_maps, option_orders : sequence of str
        Surface attributes to cross.
    label_sets : mapping of str to two str
        Label pairs by name, crossed with them.
    opponents : sequence of str
        Strategies of the other seat.
    own_cooperation : float
        Probability of action 0 in the seat's own past moves.
    rounds : sequence of int
        1-based rounds at which the decision is asked.
    histories : int
        Matches for each game and surface form.
    system : str or None
        System message.
    assistant_prefix : str
        Start of the answer.
    seed : int
        The experiment's seed. A match's history has a stream named by its match id, so a game
        or a template that is added at the end changes no other row.

    Returns
    -------
    pandas.DataFrame
        One row per match and round; columns as documented. Rows may share a `prompt_id`.

    Raises
    ------
    LabelError
        If the labels cannot be scored with this tokenizer.
    DataError
        If there is no game, round, surface form or opponent.
    """
    if not games or not rounds or min(rounds) < 1:
        raise DataError(f"prompts: {len(games)} games, rounds {list(rounds)}: give both, from 1 up")
    forms = surfaces(templates, label_sets, label_maps, option_orders)
    families: dict[str, list[Game]] = {}
    for game in games:
        families.setdefault(game.name, []).append(game)
    priors = {
        form: encode_labels(
            tokenizer,
            render(content_free_messages(form, system=system), tokenizer.chat, assistant_prefix),
            form.action_labels,
        ).prompt
        for form in forms
    }
    rows = []
    for name, family in families.items():
        cells = assign(
            name,
            forms,
            n_variants=len(family),
            opponents=opponents,
            histories=histories,
            seed=seed,
        )
        for cell in cells:
            game = family[cell.variant]
            rng = stream(seed, "history", cell.match_id)
            own, other = draw_history(cell.opponent, max(rounds) - 1, own_cooperation, rng)
            for now in rounds:
                past = own[: now - 1], other[: now - 1]
                messages = decision_messages(
                    game, cell.seat, cell.surface, *past, system=system, rounds_total=None
                )
                text = render(messages, tokenizer.chat, assistant_prefix)
                rows.append(
                    _encode(tokenizer, text, cell)
                    | _prior(priors[cell.surface])
                    | _describe(game, cell)
                    | _outcomes(game, cell, *past)
                )
    return pd.DataFrame(rows)[list(_COLUMNS)].astype(PROMPT_TARGETS)


def draw_history(
    opponent: str, length: int, own_cooperation: float, rng: np.random.Generator
) -> tuple[list[int], list[int]]:
    """Draw a history of a seat that moves at random against a scripted strategy.

    Parameters
    ----------
    opponent : str
        The other seat's strategy; RANDOM plays both actions alike.
    length : int
        Rounds to draw. A longer history starts with the shorter one.
    own_cooperation : float
        Probability of action 0 in the seat's own moves.
    rng : numpy.random.Generator
        Two numbers are drawn a round.

    Returns
    -------
    own, other : list of int
        Actions of the seat and of the other one.
    """
    own: list[int] = []
    other: list[int] = []
    for _ in range(length):
        reply = sample_action(cooperation(opponent, other, own), rng)
        own.append(sample_action(own_cooperation, rng))
        other.append(reply)
    return own, other


def _encode(tokenizer: ChatTokenizer, text: str, cell: Cell) -> dict[str, Any]:
    labels = cell.surface.action_labels
    ids, tokens_0, tokens_1 = encode_labels(tokenizer, text, labels)
    needed, most = len(ids) + max(len(tokens_0), len(tokens_1)), tokenizer.max_length
    too_long = most is not None and needed > most
    return {
        "prompt_id": prompt_id(ids),
        "text": text,
        "token_ids": np.asarray(ids, dtype=np.int32),
        "n_tokens": len(ids),
        "decision_position": len(ids) - 1,
        "label_0": labels[0],
        "label_1": labels[1],
        "label_tokens_0": np.asarray(tokens_0, dtype=np.int32),
        "label_tokens_1": np.asarray(tokens_1, dtype=np.int32),
        "dropped": f"{needed} tokens with the label, the model takes {most}" if too_long else "",
    }


def _prior(ids: Sequence[int]) -> dict[str, Any]:
    return {"prior_id": prompt_id(ids), "prior_token_ids": np.asarray(ids, dtype=np.int32)}


def _describe(game: Game, cell: Cell) -> dict[str, Any]:
    return {
        "match_id": cell.match_id,
        "game": game.name,
        "variant": game.variant,
        "seat": cell.seat,
        "template": cell.surface.template,
        "label_set": cell.surface.label_set,
        "label_map": cell.surface.label_map,
        "option_order": cell.surface.option_order,
        "opponent": cell.opponent,
        "nash_action": nash_action(game, cell.seat),
        "prosocial_action": prosocial_action(game, cell.seat),
    }


def _outcomes(game: Game, cell: Cell, own: Sequence[int], other: Sequence[int]) -> dict[str, Any]:
    return {
        "round": len(own) + 1,
        "own_last": own[-1] if own else None,
        "opponent_last": other[-1] if other else None,
        "opponent_cooperation": other.count(0) / len(other) if other else None,
        "best_response": best_response(game, cell.seat, other[-1]) if other else None,
    }
