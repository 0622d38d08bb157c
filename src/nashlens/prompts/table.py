"""The prompts table: one row a decision prompt (`docs/reference/results.md`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nashlens.errors import DataError
from nashlens.games.game import Game
from nashlens.prompts.design import PlannedMatch, assign_matches, surfaces
from nashlens.prompts.labels import EncodedPrompt, PromptTokenizer, encode_labels, prompt_id
from nashlens.prompts.render import View, content_free_messages, decision_messages, render
from nashlens.prompts.targets import TARGETS
from nashlens.seeds import stream
from nashlens.strategies import cooperation, sample_action
from nashlens.vocabulary.targets import PROMPT_TARGETS


def build_prompts(
    games: Sequence[Game],
    tokenizer: PromptTokenizer,
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
    (`design.assign_matches`).

    Parameters
    ----------
    games : sequence of Game
        Games with their variants; those of one name belong together.
    tokenizer : PromptTokenizer
        The model's.
    templates, label_maps, option_orders : sequence of str
        Surface attributes to cross.
    label_sets : mapping of str to two str
        Pairs of labels by name; crossed too.
    opponents : sequence of str
        Strategies of the other seat.
    own_cooperation : float
        Probability of action 0 in the seat's own past moves.
    rounds : sequence of int
        Rounds, from 1, at which the decision is asked.
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

    priors = {}
    for form in forms:
        messages = content_free_messages(form, system=system)
        text = render(messages, tokenizer.chat, assistant_prefix)
        priors[form] = encode_labels(tokenizer, text, form.action_labels)
    rows = []
    for name, family in families.items():
        planned = assign_matches(
            name,
            forms,
            n_variants=len(family),
            opponents=opponents,
            histories=histories,
            seed=seed,
        )
        for match in planned:
            game, form = family[match.variant], match.surface
            rng = stream(seed, "history", match.match_id)
            own, other = draw_history(match.opponent, max(rounds) - 1, own_cooperation, rng)
            for now in rounds:
                view = View(game, match.seat, form, own[: now - 1], other[: now - 1])
                messages = decision_messages(view, system=system)
                text = render(messages, tokenizer.chat, assistant_prefix)
                encoded = encode_labels(tokenizer, text, form.action_labels)
                rows.append(_row(match, view, text, encoded, priors[form], tokenizer.max_length))
    return pd.DataFrame(rows).astype(PROMPT_TARGETS)


def _row(
    match: PlannedMatch,
    view: View,
    text: str,
    encoded: EncodedPrompt,
    prior: EncodedPrompt,
    max_length: int | None,
) -> dict[str, Any]:
    form, ids = match.surface, encoded.ids
    needed = encoded.n_tokens_with_label
    too_long = max_length is not None and needed > max_length
    return {
        "prompt_id": prompt_id(ids),
        "match_id": match.match_id,
        "game": view.game.name,
        "variant": view.game.variant,
        "seat": view.seat,
        "round": view.round,
        "template": form.template,
        "label_set": form.label_set,
        "label_map": form.label_map,
        "option_order": form.option_order,
        "opponent": match.opponent,
        "text": text,
        "token_ids": _array(ids),
        "n_tokens": len(ids),
        "decision_position": len(ids) - 1,
        "label_0": form.label(0),
        "label_1": form.label(1),
        "label_tokens_0": _array(encoded.labels[0]),
        "label_tokens_1": _array(encoded.labels[1]),
        "prior_id": prompt_id(prior.ids),
        "prior_token_ids": _array(prior.ids),
        **{name: target(view) for name, target in TARGETS.items()},
        "dropped": f"{needed} tokens with the label, the model takes {max_length}"
        if too_long
        else "",
    }


def _array(ids: Sequence[int]) -> NDArray[np.int32]:
    return np.asarray(ids, dtype=np.int32)


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
