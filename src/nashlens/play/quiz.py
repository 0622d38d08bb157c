"""Does a model know the rules, and what was played? Forced choices after the prompts of play.

A history holds each of the four cells equally often, in random order. Each kind of question
(`prompts.templates.QUIZ`) is then asked twice, of two cells or rounds whose answers differ, each
time with the other one's answer as the wrong one. So whoever prefers an answer for its own sake,
or does not read, is right half of the time: chance is one half, whatever the payoffs and labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from nashlens.contrasts import cluster_bootstrap
from nashlens.engine.labels import LabelledPrompt, label_probabilities
from nashlens.errors import LabelError
from nashlens.games.game import SEATS, Game
from nashlens.play.player import Scorer
from nashlens.play.schedule import surface_sequence
from nashlens.prompts import templates
from nashlens.prompts.labels import ChatTokenizer, encode_prompt, prompt_id
from nashlens.prompts.render import Surface, View, ask, render, short_number
from nashlens.seeds import stream

CHANCE = 0.5
ALL = "all"
"""The kind that stands for every question of a template together."""
CELLS = ((0, 0), (0, 1), (1, 0), (1, 1))


class Question(NamedTuple):
    """One forced choice."""

    kind: str
    """A key of `templates.QUIZ`."""
    text: str
    start: str
    """Start of the answer."""
    right: str
    wrong: str
    round: int | None
    """The round that it is about; None for the rules."""


@dataclass(frozen=True)
class History:
    """What the questions are about."""

    name: str
    view: View


def histories_of(
    games: Sequence[Game], forms: Sequence[Surface], *, histories: int, cycles: int, seed: int
) -> list[History]:
    """Return the histories of all games and templates.

    Parameters
    ----------
    games : sequence of Game
        Games with their variants; history h is of variant h modulo their number.
    forms : sequence of Surface
        The full crossing of surface forms; each template has its own histories.
    histories : int
        For each game and template, in the row and the column seat by turns.
    cycles : int
        How often each of the four cells is played in a history.
    seed : int
    """
    families: dict[str, list[Game]] = {}
    for game in games:
        families.setdefault(game.name, []).append(game)
    found = []
    for template in dict.fromkeys(form.template for form in forms):
        mine = [form for form in forms if form.template == template]
        for place, (name, family) in enumerate(families.items()):
            sequence = surface_sequence(mine, name, seed, histories)
            for h, form in enumerate(sequence):
                key = f"{name}/{template}/{h}"
                cells = stream(seed, "quiz", key).permutation(list(CELLS) * cycles)
                seat = SEATS[(place + h) % 2]
                own, other = ([int(a) for a in column] for column in cells.T)
                view = View(family[h % len(family)], seat, form, own, other)
                found.append(History(key, view))
    return found


def questions(view: View, rng: np.random.Generator) -> Iterator[Question]:
    """Yield the questions about a history: two of each kind that its payoffs allow."""
    cells = list(zip(view.own, view.other, strict=True))
    labels = view.surface.label

    def gain(which: int) -> dict[tuple[int, int], str]:
        return {c: short_number(view.game.view(view.seat, *c)[which]) for c in CELLS}

    for which, who in enumerate(("own", "other")):
        earned = gain(which)
        yield from _twice(f"rule_{who}", view, [(c, None, earned[c]) for c in CELLS], rng)
        moves = [(c, k, labels(c[which])) for k, c in enumerate(cells, start=1)]
        yield from _twice(f"move_{who}", view, moves, rng)
        gains = [(c, k, earned[c]) for k, c in enumerate(cells, start=1)]
        yield from _twice(f"gain_{who}", view, gains, rng)


def _twice(
    kind: str,
    view: View,
    facts: Sequence[tuple[tuple[int, int], int | None, str]],
    rng: np.random.Generator,
) -> Iterator[Question]:
    """Ask about two facts, (cell, round, answer), whose answers differ; nothing if none do."""
    pairs = [(a, b) for a in facts for b in facts if a[2] != b[2]]
    if not pairs:
        return
    first, second = pairs[int(rng.integers(len(pairs)))]
    text, start = templates.QUIZ[kind]
    player = view.template.other
    for (cell, asked, right), (_, _, wrong) in ((first, second), (second, first)):
        fields = {
            "own": view.surface.label(cell[0]),
            "other": view.surface.label(cell[1]),
            "round": asked,
            "player": player,
            "Player": player.capitalize(),
            "unit": view.template.unit,
        }
        yield Question(kind, text.format(**fields), start.format(**fields), right, wrong, asked)


def ask_quiz(
    histories: Sequence[History],
    tokenizer: ChatTokenizer,
    scorer: Scorer,
    *,
    system: str | None,
    model: str,
    seed: int,
) -> pd.DataFrame:
    """Ask a model all questions about some histories.

    Parameters
    ----------
    histories : sequence of History
    tokenizer : ChatTokenizer
    scorer : Scorer
        `nashlens.engine.core.Engine` is one.
    system : str or None
        System message.
    model : str
        Its name, for the table.
    seed : int

    Returns
    -------
    pandas.DataFrame
        One row a question (`docs/reference/results.md`). What does not fit the model's context is
        not asked, and `dropped` says so.
    """
    rows: list[dict[str, Any]] = []
    prompts: list[LabelledPrompt] = []
    for history in histories:
        rng = stream(seed, "quiz questions", history.name)
        for question in questions(history.view, rng):
            messages = ask(history.view, question.text, system=system, bare=True)
            text = render(messages, tokenizer.chat, question.start)
            prompt = encode_answers(tokenizer, text, (question.right, question.wrong))
            longest = len(prompt.ids) + max(len(label) for label in prompt.labels)
            most = tokenizer.max_length
            fits = most is None or longest <= most
            dropped = "" if fits else f"{longest} tokens with the answer, the model takes {most}"
            rows.append(_row(history, question, prompt, model) | {"dropped": dropped})
            prompts.append(prompt)
    frame = pd.DataFrame(rows).astype({"asked_round": "Int64"})
    asked = np.flatnonzero(frame["dropped"] == "")
    p_right, mass = np.full(len(frame), np.nan), np.full(len(frame), np.nan)
    if len(asked):
        chances, total = label_probabilities(scorer.label_logprobs([prompts[i] for i in asked]))
        p_right[asked], mass[asked] = chances[:, 0], total
    # A tie is not known: it counts as wrong.
    correct = pd.array(p_right > 0.5, dtype="boolean")
    correct[frame["dropped"].to_numpy() != ""] = pd.NA
    return frame.assign(p_right=p_right, answer_mass=mass, correct=correct)


def encode_answers(tokenizer: ChatTokenizer, text: str, answers: tuple[str, str]) -> LabelledPrompt:
    """Return a prompt with two answers, each with its full stop: 1 does not begin 10 then.

    Raises
    ------
    LabelError
        If an answer changes the prompt's own tokens.
    """
    ids = encode_prompt(tokenizer, text)
    tokens = []
    for answer in answers:
        whole = encode_prompt(tokenizer, f"{text} {answer}.")
        if whole[: len(ids)] != ids:
            raise LabelError(
                f"{tokenizer.name}: the answer {answer!r} changes the tokens of the quiz prompt "
                f"before it, which ends in {text[-20:]!r}; choose other labels or payoffs"
            )
        tokens.append(whole[len(ids) :])
    return LabelledPrompt(ids, (tokens[0], tokens[1]))


def _row(
    history: History, question: Question, prompt: LabelledPrompt, model: str
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


def quiz_accuracy(
    answers: pd.DataFrame, *, confidence: float, resamples: int, seed: int
) -> pd.DataFrame:
    """Return the share of right answers by model, template and kind of question.

    Parameters
    ----------
    answers : pandas.DataFrame
        Of `ask_quiz`, of one or several models.
    confidence : float
        Coverage of the intervals.
    resamples : int
        Of the bootstrap over histories.
    seed : int

    Returns
    -------
    pandas.DataFrame
        One row a model, template and kind, and one of kind `all` for every template.
    """
    both = pd.concat([answers.assign(kind=ALL), answers], ignore_index=True)
    rows = []
    for (model, template, kind), part in both.groupby(["model", "template", "kind"], sort=False):
        known = part[part["correct"].notna()]
        row: dict[str, Any] = {"model": model, "template": template, "kind": kind}
        row |= {"n": len(known), "n_histories": known["history_id"].nunique()}
        row |= {"n_dropped": len(part) - len(known), "chance": CHANCE, "confidence": confidence}
        row |= dict.fromkeys(("accuracy", "ci_low", "ci_high", "p_right", "answer_mass"), np.nan)
        if len(known):
            interval = cluster_bootstrap(
                known["correct"].astype(float),
                known["history_id"],
                resamples=resamples,
                confidence=confidence,
                rng=stream(seed, "quiz accuracy", str(model), str(template), str(kind)),
            )
            row |= {
                "accuracy": float(interval.estimate),
                "ci_low": float(interval.low),
                "ci_high": float(interval.high),
                "p_right": float(known["p_right"].mean()),
                "answer_mass": float(known["answer_mass"].median()),
            }
        rows.append(row)
    return pd.DataFrame(rows).sort_values(["model", "template"], kind="stable", ignore_index=True)
