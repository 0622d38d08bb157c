"""What a model expects the other to do, and whether it best-responds to that.

After a history the model is asked which option the other chooses next, and, apart from that, for
its own action: both as play asks. Only games count in which the best response depends on what the
other does: where an action is dominant, best-responding says nothing about beliefs. The other
always takes the same action in a history, the seat's own moves are random: so expectations differ
from history to history, and who repeats its own moves best-responds half of the time.

A *belief* is that of a block: the mean log odds of its four surface forms, in which a liking for a
label or for a place cancels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from nashlens.engine.core import Engine
from nashlens.engine.labels import LabelledPrompt, LabelScorer, label_probabilities
from nashlens.games.equilibria import dominant_action
from nashlens.games.game import SEATS, Game, families
from nashlens.models.load import load_model
from nashlens.models.tokenizer import ChatTokenizer
from nashlens.play.responses import COLUMNS, hold_against_beliefs
from nashlens.play.schedule import forms_of_play, games_of_play
from nashlens.prompts.labels import (
    EncodedPrompt,
    PromptTokenizer,
    check_words,
    encode_prompts,
    prompt_id,
)
from nashlens.prompts.render import (
    Surface,
    View,
    belief_question,
    decision_messages,
    question_messages,
    render,
)
from nashlens.prompts.table import draw_history
from nashlens.seeds import stream
from nashlens.vocabulary.play import BELIEF_OPPONENTS as OPPONENTS

ROUNDS = 3
"""Rounds of a history."""


class BeliefHistory(NamedTuple):
    """A history in one surface form."""

    name: str
    """Game and number."""
    opponent: str
    view: View

    @property
    def block_id(self) -> str:
        """What its four surface forms share."""
        form = self.view.surface
        return f"{self.name}/{form.template}/{form.label_set}"


def belief_histories(
    games: Sequence[Game],
    forms_of: Callable[[Game], Sequence[Surface]],
    *,
    histories: int,
    seed: int,
) -> Iterator[BeliefHistory]:
    """Yield the histories of all games without a dominant action, in all forms of a block.

    Parameters
    ----------
    games : sequence of Game
        Games with their variants; history h is of variant h modulo their number.
    forms_of : callable
        Returns the full crossing of a game's surface forms; histories take turns with its pairs of
        template and label set.
    histories : int
        Number for each game; those of one game share a template and a label set while four or
        fewer, and the seats take turns.
    seed : int
    """
    for place, (name, family) in enumerate(families(games).items()):
        by_stratum: dict[tuple[str, str], list[Surface]] = {}
        for form in forms_of(family[0]):
            by_stratum.setdefault((form.template, form.label_set), []).append(form)
        order = stream(seed, "belief forms", name).permutation(len(by_stratum))
        blocks = [list(by_stratum.values())[i] for i in order]
        for h in range(histories):
            game, seat = family[h % len(family)], SEATS[(place + h // len(OPPONENTS)) % 2]
            if dominant_action(game, seat) is not None:
                continue
            key, opponent = f"{name}/belief/{h}", OPPONENTS[(place + h) % len(OPPONENTS)]
            own, other = draw_history(opponent, ROUNDS, 0.5, stream(seed, "belief", key))
            for form in blocks[h // 4 % len(blocks)]:
                yield BeliefHistory(key, opponent, View(game, seat, form, own, other))


def ask_beliefs(
    histories: Sequence[BeliefHistory],
    tokenizer: PromptTokenizer,
    scorer: LabelScorer,
    *,
    system: str | None,
    assistant_prefix: str,
    model: str,
) -> pd.DataFrame:
    """Ask a model for its expectation and for its action after some histories.

    Parameters
    ----------
    histories : sequence of BeliefHistory
    tokenizer : PromptTokenizer
    scorer : LabelScorer
    system : str or None
        System message.
    assistant_prefix : str
        Start of the answer that holds the action.
    model : str
        The model's name, for the table.

    Returns
    -------
    pandas.DataFrame
        One row a history and surface form, columns `COLUMNS` (`docs/reference/results.md`).
        What does not fit the model's context is not asked, and `dropped` says so.

    Raises
    ------
    LabelError
        If a text of the config holds one of the model's special tokens.
    """
    words = {word for one in histories for word in one.view.words}
    check_words(tokenizer, {system, assistant_prefix, *words})
    if not histories:
        return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in COLUMNS.items()})
    texts, labels = [], []
    for history in histories:
        view = history.view
        question, start = belief_question(view)
        asked = question_messages(view, question, system=system)
        texts.append(render(asked, tokenizer.chat, start))
        acting = decision_messages(view, system=system)
        texts.append(render(acting, tokenizer.chat, assistant_prefix))
        labels += [view.surface.action_labels] * 2
    prompts = encode_prompts(tokenizer, texts, labels)
    pairs = list(zip(prompts[::2], prompts[1::2], strict=True))
    rows = [
        _row(history, pair, model, tokenizer.max_length)
        for history, pair in zip(histories, pairs, strict=True)
    ]
    asked_rows = [i for i, row in enumerate(rows) if not row["dropped"]]
    # Both prompts of a history share all but their last line, and so does the engine's work.
    both = [LabelledPrompt(p.ids, p.labels) for i in asked_rows for p in pairs[i]]
    if both:
        p, mass = label_probabilities(scorer.label_logprobs(both))
        for k, i in enumerate(asked_rows):
            rows[i] |= {"p_expected_1": p[2 * k, 1], "belief_mass": mass[2 * k]}
            rows[i] |= {"p_action_1": p[2 * k + 1, 1], "label_mass": mass[2 * k + 1]}
    return hold_against_beliefs(pd.DataFrame(rows).reindex(columns=list(COLUMNS)))


def _row(
    history: BeliefHistory,
    prompts: tuple[EncodedPrompt, EncodedPrompt],
    model: str,
    most: int | None,
) -> dict[str, Any]:
    view, form = history.view, history.view.surface
    payoff = np.array(
        [[float(view.game.seat_payoffs(view.seat, a, b)[0]) for b in (0, 1)] for a in (0, 1)]
    )
    gains = (payoff[1] - payoff[0]) / np.ptp(payoff)
    needed = max(prompt.n_tokens_with_label for prompt in prompts)
    too_long = most is not None and needed > most
    return {
        "model": model,
        "match_id": history.name,
        "block_id": history.block_id,
        "game": view.game.name,
        "variant": view.game.variant,
        "seat": view.seat,
        "opponent": history.opponent,
        "template": form.template,
        "label_set": form.label_set,
        "label_kind": form.label_kind,
        "label_map": form.label_map,
        "option_order": form.option_order,
        "belief_prompt_id": prompt_id(prompts[0].ids),
        "prompt_id": prompt_id(prompts[1].ids),
        "n_tokens": max(len(prompt.ids) for prompt in prompts),
        "dropped": f"{needed} tokens with the label, the model takes {most}" if too_long else "",
        "gain_0": gains[0],
        "gain_1": gains[1],
    }


def beliefs_of_model(
    games: pd.DataFrame,
    folder: Path,
    config: Mapping[str, Any],
    model: str,
    *,
    threads: int,
    batch_tokens: int,
) -> pd.DataFrame:
    """Ask one model for the beliefs of an experiment; parameters as `quiz.quiz_model`."""
    histories = belief_histories(
        games_of_play(games, config),
        partial(forms_of_play, config),
        histories=config["quiz"]["beliefs"],
        seed=config["experiment"]["seed"],
    )
    loaded = load_model(folder, **config["models"][model], threads=threads)
    return ask_beliefs(
        list(histories),
        ChatTokenizer(folder),
        Engine(loaded, batch_tokens),
        system=config["prompts"]["system"],
        assistant_prefix=config["prompts"]["assistant_prefix"],
        model=model,
    )
