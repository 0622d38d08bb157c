"""Does a model know the rules, and what was played? Forced choices after the prompts of play.

A history holds each of the four cells equally often, in random order. Each kind of question
(`prompts.templates.QUIZ`) is then asked twice, about two cells or rounds whose answers differ, each
time with the other one's answer as the wrong one. So whoever prefers an answer for its own sake,
or does not read, is right half of the time: chance is one half, whatever the payoffs and labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from nashlens.engine.core import Engine
from nashlens.engine.labels import LabelledPrompt, LabelScorer, label_probabilities
from nashlens.errors import LabelError
from nashlens.games.game import SEATS, Game, families
from nashlens.games.table import CELLS
from nashlens.models.load import load_model
from nashlens.models.tokenizer import ChatTokenizer
from nashlens.play.schedule import forms_of_play, games_of_play
from nashlens.prompts import templates
from nashlens.prompts.labels import (
    EncodedPrompt,
    PromptTokenizer,
    check_words,
    encode_prompt,
    prompt_id,
    tokens_after,
)
from nashlens.prompts.render import Surface, View, question_messages, render, short_number
from nashlens.seeds import stream


class QuizQuestion(NamedTuple):
    """One forced choice."""

    kind: str
    """A key of `templates.QUIZ`."""
    text: str
    start: str
    """Start of the answer."""
    right: str
    wrong: str
    round: int | None
    """The round that it asks about; None for the rules."""


@dataclass(frozen=True)
class History:
    """What the questions are about."""

    name: str
    """Game, template and number."""
    view: View
    """The history as the asked seat knows it."""


def histories_of(
    games: Sequence[Game],
    forms_of: Callable[[Game], Sequence[Surface]],
    *,
    histories: int,
    cycles: int,
    seed: int,
) -> list[History]:
    """Return the histories of all games and templates.

    Parameters
    ----------
    games : sequence of Game
        Games with their variants; history h is of variant h modulo their number.
    forms_of : callable
        Returns the full crossing of a game's surface forms; each template has its own histories.
    histories : int
        Number for each game and template; the asked seat alternates.
    cycles : int
        How often each of the four cells is played in a history.
    seed : int
    """
    found = []
    for place, (name, family) in enumerate(families(games).items()):
        forms = forms_of(family[0])
        for template in dict.fromkeys(form.template for form in forms):
            mine = [form for form in forms if form.template == template]
            order = stream(seed, "quiz forms", name, template).permutation(len(mine))
            for h in range(histories):
                key = f"{name}/{template}/{h}"
                cells = stream(seed, "quiz", key).permutation(list(CELLS) * cycles)
                seat = SEATS[(place + h) % 2]
                own, other = ([int(a) for a in column] for column in cells.T)
                form = mine[order[h % len(mine)]]
                found.append(History(key, View(family[h % len(family)], seat, form, own, other)))
    return found


def questions(view: View, rng: np.random.Generator) -> Iterator[QuizQuestion]:
    """Yield the questions about a history: two of each kind that its payoffs allow."""
    cells = list(zip(view.own, view.other, strict=True))
    labels = view.surface.label

    for which, who in enumerate(("own", "other")):
        payoff = {c: short_number(view.game.seat_payoffs(view.seat, *c)[which]) for c in CELLS}
        rules = [_Fact(cell, None, payoff[cell]) for cell in CELLS]
        yield from _ask_twice(f"rule_{who}", view, rules, rng)
        moves = [_Fact(c, k, labels(c[which])) for k, c in enumerate(cells, start=1)]
        yield from _ask_twice(f"move_{who}", view, moves, rng)
        gains = [_Fact(cell, k, payoff[cell]) for k, cell in enumerate(cells, start=1)]
        yield from _ask_twice(f"gain_{who}", view, gains, rng)


class _Fact(NamedTuple):
    cell: tuple[int, int]
    """Own and the other's action."""
    round: int | None
    """None for the rules."""
    answer: str


def _ask_twice(
    kind: str, view: View, facts: Sequence[_Fact], rng: np.random.Generator
) -> Iterator[QuizQuestion]:
    """Yield questions about two facts whose answers differ; none if all answers are the same."""
    pairs = [(a, b) for a in facts for b in facts if a.answer != b.answer]
    if not pairs:
        return
    one, two = pairs[int(rng.integers(len(pairs)))]
    text, start = templates.QUIZ[kind]
    player = view.template.other
    for fact, other in ((one, two), (two, one)):
        fields = {
            "own": view.surface.label(fact.cell[0]),
            "other": view.surface.label(fact.cell[1]),
            "round": fact.round,
            "player": player,
            "Player": player.capitalize(),
            "unit": view.template.unit,
        }
        yield QuizQuestion(
            kind=kind,
            text=text.format(**fields),
            start=start.format(**fields),
            right=fact.answer,
            wrong=other.answer,
            round=fact.round,
        )


def histories_of_play(games: pd.DataFrame, config: Mapping[str, Any]) -> list[History]:
    """Return the histories of an experiment; parameters as of `quiz_model`."""
    return histories_of(
        games_of_play(games, config),
        partial(forms_of_play, config),
        histories=config["quiz"]["histories"],
        cycles=config["quiz"]["cycles"],
        seed=config["experiment"]["seed"],
    )


def quiz_model(
    games: pd.DataFrame,
    folder: Path,
    config: Mapping[str, Any],
    model: str,
    *,
    threads: int,
    batch_tokens: int,
) -> pd.DataFrame:
    """Ask one model the quiz of an experiment.

    Parameters
    ----------
    games : pandas.DataFrame
        The games table.
    folder : Path
        The converted model.
    config : mapping
        The config's sections `quiz`, `matches`, `prompts`, `models` and `experiment`, as far as
        the quiz reads them.
    model : str
        The model's name.
    threads : int
        Number of torch threads.
    batch_tokens : int
        The most tokens of a forward pass.

    Returns
    -------
    pandas.DataFrame
        See `ask_quiz`.
    """
    seed = config["experiment"]["seed"]
    loaded = load_model(folder, **config["models"][model], threads=threads)
    return ask_quiz(
        histories_of_play(games, config),
        ChatTokenizer(folder),
        Engine(loaded, batch_tokens),
        system=config["prompts"]["system"],
        model=model,
        seed=seed,
    )


def ask_quiz(
    histories: Sequence[History],
    tokenizer: PromptTokenizer,
    scorer: LabelScorer,
    *,
    system: str | None,
    model: str,
    seed: int,
) -> pd.DataFrame:
    """Ask a model all questions about some histories.

    Parameters
    ----------
    histories : sequence of History
    tokenizer : PromptTokenizer
    scorer : LabelScorer
    system : str or None
        System message.
    model : str
        The model's name, for the table.
    seed : int

    Returns
    -------
    pandas.DataFrame
        One row a question (`docs/reference/results.md`). What does not fit the model's context is
        not asked, and `dropped` says so.

    Raises
    ------
    LabelError
        If a text of the config holds one of the model's special tokens.
    """
    check_words(tokenizer, {system, *(word for one in histories for word in one.view.words)})
    rows: list[dict[str, Any]] = []
    prompts: list[EncodedPrompt] = []
    for history in histories:
        rng = stream(seed, "quiz questions", history.name)
        for question in questions(history.view, rng):
            messages = question_messages(history.view, question.text, system=system, past_only=True)
            text = render(messages, tokenizer.chat, question.start)
            prompt = encode_answers(tokenizer, text, (question.right, question.wrong))
            needed, most = prompt.n_tokens_with_label, tokenizer.max_length
            fits = most is None or needed <= most
            dropped = "" if fits else f"{needed} tokens with the answer, the model takes {most}"
            rows.append(_row(history, question, prompt, model) | {"dropped": dropped})
            prompts.append(prompt)
    frame = pd.DataFrame(rows).astype({"asked_round": "Int64"})
    asked = np.flatnonzero(frame["dropped"] == "")
    p_right, mass = np.full(len(frame), np.nan), np.full(len(frame), np.nan)
    if len(asked):
        labelled = [LabelledPrompt(prompts[i].ids, prompts[i].labels) for i in asked]
        probabilities, total = label_probabilities(scorer.label_logprobs(labelled))
        p_right[asked], mass[asked] = probabilities[:, 0], total
    # In a tie the model does not know the answer: it counts as wrong.
    correct = pd.array(p_right > 0.5, dtype="boolean")
    correct[frame["dropped"].to_numpy() != ""] = pd.NA
    return frame.assign(p_right=p_right, answer_mass=mass, correct=correct)


def encode_answers(
    tokenizer: PromptTokenizer, text: str, answers: tuple[str, str]
) -> EncodedPrompt:
    """Return a prompt with two answers, each with a full stop, so that 10 does not start with 1.

    Raises
    ------
    LabelError
        If an answer changes the prompt's own tokens.
    """
    ids = encode_prompt(tokenizer, text)
    tokens = []
    for answer in answers:
        after = tokens_after(ids, encode_prompt(tokenizer, f"{text} {answer}."))
        if after is None:
            raise LabelError(
                f"{tokenizer.name}: the answer {answer!r} changes the tokens of the quiz prompt "
                f"before it, which ends in {text[-20:]!r}; choose other labels or payoffs"
            )
        tokens.append(after)
    return EncodedPrompt(ids, (tokens[0], tokens[1]))


def _row(
    history: History, question: QuizQuestion, prompt: EncodedPrompt, model: str
) -> dict[str, Any]:
    view = history.view
    return {
        "model": model,
        "history_id": history.name,
        "game": view.game.name,
        "variant": view.game.variant,
        "seat": view.seat,
        "template": view.surface.template,
        "label_set": view.surface.label_set,
        "label_map": view.surface.label_map,
        "option_order": view.surface.option_order,
        "kind": question.kind,
        "asked_round": question.round,
        "question": question.text,
        "right": question.right,
        "wrong": question.wrong,
        "prompt_id": prompt_id(prompt.ids),
        "n_tokens": len(prompt.ids),
    }
