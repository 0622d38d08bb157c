"""How an agent comes to its decision: scored at once, after reasoning, or with its notes.

Whatever the mode, the two labels are scored in the end, so every decision of a model has a
P(action). In mode cot they are scored after the reasoning and the anchor: what the model wrote
before its own final-answer line if it wrote one, else all of it. The line that it wrote itself is
parsed as well (`answers`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from nashlens.engine.labels import LabelledPrompt, label_probabilities
from nashlens.errors import DataError
from nashlens.games.game import SEATS
from nashlens.play.answers import VALID, Answer, before_answer, final_answer
from nashlens.play.player import Player, Settings, Wanted
from nashlens.play.schedule import Agent, Match
from nashlens.prompts import templates
from nashlens.prompts.labels import encode_many, encode_prompt, prompt_id
from nashlens.prompts.render import View, ask, question, render
from nashlens.seeds import stream
from nashlens.strategies import cooperation


@dataclass
class Decision:
    """One seat of one match in one round, before it is decided."""

    match: Match
    seat: int
    view: View
    texts: list[dict[str, Any]] = field(default_factory=list)
    """What the agent wrote on the way, one row a text (`docs/reference/results.md`)."""

    @property
    def agent(self) -> Agent:
        """Who decides."""
        return (self.match.row, self.match.column)[self.seat]


def decide(
    decisions: Sequence[Decision], players: Mapping[str, Player], settings: Settings
) -> list[dict[str, Any]]:
    """Return what each decision's agent would do: its probabilities and how they were got.

    Parameters
    ----------
    decisions : sequence of Decision
        Their `texts` and, in mode scratchpad, the notes of their `view` are brought up to date.
    players : mapping of str to Player
        By model name.
    settings : Settings

    Returns
    -------
    list of dict
        Columns of the play table: `p_action_0`, `p_action_1`, `prompt_id`, `n_tokens`,
        `label_mass`, `answer`, `parsed_action`, `attempts`, `n_written`.
    """
    beliefs: list[dict[str, Any]] = [{} for _ in decisions]
    asked: dict[str, list[int]] = {}
    for i, decision in enumerate(decisions):
        agent = decision.agent
        if agent.strategy is not None:
            view = decision.view
            p = cooperation(agent.strategy, view.own, view.other, agent.p)
            beliefs[i] = _belief(p, 1.0 - p)
        else:
            asked.setdefault(str(agent.model), []).append(i)
    for model, indices in asked.items():
        found = _decide_with([decisions[i] for i in indices], players[model], settings)
        for i, belief in zip(indices, found, strict=True):
            beliefs[i] = belief
    return beliefs


def talk(
    decisions: Sequence[Decision], players: Mapping[str, Player], settings: Settings
) -> list[str]:
    """Return the message that each seat sends before this round's moves; scripts send none."""
    messages = [""] * len(decisions)
    asked: dict[str, list[int]] = {}
    for i, decision in enumerate(decisions):
        if decision.agent.model is not None:
            asked.setdefault(decision.agent.model, []).append(i)
    for model, indices in asked.items():
        some = [decisions[i] for i in indices]
        prompts = [
            _request(d, players[model], templates.WRITE_MESSAGE, templates.MESSAGE_PREFIX, settings)
            for d in some
        ]
        texts = _write(some, prompts, players[model], settings, "message", settings.talk_tokens)
        for i, text in zip(indices, texts, strict=True):
            messages[i] = message_of(text)
    return messages


def message_of(text: str) -> str:
    """Return the message in what a model wrote: its first line."""
    return quoted(text.strip().partition("\n")[0])


def quoted(text: str) -> str:
    """Return a text as it stands in quotes on one line: it can neither end them nor the line."""
    return " ".join(text.replace('"', "'").split())


def _belief(p_0: float, p_1: float) -> dict[str, Any]:
    return {
        "p_action_0": p_0,
        "p_action_1": p_1,
        "prompt_id": None,
        "n_tokens": None,
        "label_mass": np.nan,
        "answer": None,
        "parsed_action": None,
        "attempts": None,
        "n_written": None,
    }


def _decide_with(
    decisions: Sequence[Decision], player: Player, settings: Settings
) -> list[dict[str, Any]]:
    """Decide for one model, in whatever modes it plays."""
    noting = [d for d in decisions if d.agent.mode == "scratchpad"]
    if noting:
        _take_notes(noting, player, settings)
    thinking = [i for i, d in enumerate(decisions) if d.agent.mode == "cot"]
    thoughts: dict[int, tuple[str, Answer]] = {}
    if thinking:
        found = _think([decisions[i] for i in thinking], player, settings)
        thoughts = dict(zip(thinking, found, strict=True))
    texts, kept = [], []
    for i, decision in enumerate(decisions):
        if i in thoughts:
            reasoning = before_answer(thoughts[i][0], settings.cot.anchor).rstrip()
            start = f"{reasoning}\n{settings.cot.anchor}" if reasoning else settings.cot.anchor
            prompt = _prompt(decision, player, settings, thinks=True)
        else:
            start = settings.assistant_prefix
            prompt = _prompt(decision, player, settings, thinks=False)
        texts.append(prompt + start)
        kept.append(None if decision.agent.mode == "direct" else _stem(decision, prompt))
    beliefs = _score(decisions, texts, kept, player)
    for i, belief in enumerate(beliefs):
        written = decisions[i].texts
        if i in thoughts:
            answer = thoughts[i][1]
            belief |= {"answer": answer.status, "parsed_action": answer.action}
        if written:
            belief["attempts"] = written[-1]["attempt"]
            belief["n_written"] = sum(text["n_tokens"] for text in written)
    return beliefs


def _think(
    decisions: Sequence[Decision], player: Player, settings: Settings
) -> list[tuple[str, Answer]]:
    """Let agents reason; return each one's last text and the answer that stands in it."""
    cot = settings.cot
    texts: list[tuple[str, Answer]] = [("", Answer("", None))] * len(decisions)
    pending = list(range(len(decisions)))
    prompts = [_prompt(d, player, settings, thinks=True) for d in decisions]
    for attempt in range(1, 2 + (cot.retries if cot.answer == "parsed" else 0)):
        some = [decisions[i] for i in pending]
        asked = [prompts[i] for i in pending]
        found = _write(some, asked, player, settings, "reasoning", cot.tokens, attempt)
        for i, text in zip(pending, found, strict=True):
            labels = decisions[i].match.surface.action_labels
            texts[i] = text, final_answer(text, labels, cot.anchor)
            decisions[i].texts[-1]["answer"] = texts[i][1].status
        pending = [i for i in pending if texts[i][1].status != VALID]
        if not pending:
            break
    return texts


def _take_notes(decisions: Sequence[Decision], player: Player, settings: Settings) -> None:
    prompts = [
        _request(d, player, templates.WRITE_NOTES, templates.NOTES_PREFIX, settings)
        for d in decisions
    ]
    tokens = settings.scratchpad.tokens
    texts = _write(decisions, prompts, player, settings, "notes", tokens)
    for decision, text in zip(decisions, texts, strict=True):
        decision.view = replace(decision.view, notes=quoted(text))


def _request(decision: Decision, player: Player, text: str, prefix: str, settings: Settings) -> str:
    view = decision.view
    line = text.format(round=view.round, player=view.template.other)
    return render(ask(view, line, system=settings.system), player.tokenizer.chat, prefix)


def _prompt(decision: Decision, player: Player, settings: Settings, *, thinks: bool) -> str:
    line = question(decision.view, settings.cot.anchor if thinks else None)
    return player.tokenizer.chat(ask(decision.view, line, system=settings.system))


def _stem(decision: Decision, prompt: str) -> str:
    """Return the start of a prompt that the match's later prompts share."""
    stem = "\n".join(decision.view.stem())
    return prompt[: prompt.find(stem) + len(stem)] if stem in prompt else ""


def _write(
    decisions: Sequence[Decision],
    prompts: Sequence[str],
    player: Player,
    settings: Settings,
    kind: str,
    tokens: int,
    attempt: int = 1,
) -> list[str]:
    """Let a model write one text after each prompt, and record it with its decision."""
    if player.write is None:
        raise DataError(f"{player.tokenizer.name}: {kind} is wanted, and nothing generates it")
    wanted = []
    stems = [_stem(decision, prompt) for decision, prompt in zip(decisions, prompts, strict=True)]
    heads = player.tokenizer.encode_many(stems)
    for decision, prompt, head in zip(decisions, prompts, heads, strict=True):
        ids = encode_prompt(player.tokenizer, prompt)
        _check_length(decision, player, len(ids) + tokens)
        name = ("text", decision.match.match_id, decision.view.round, SEATS[decision.seat])
        rng = stream(settings.seed, *name, kind, attempt)
        wanted.append(Wanted(ids, int(rng.integers(2**62)), tokens, _common(ids, head)))
    texts = []
    for decision, asked, written in zip(
        decisions, wanted, player.write(wanted, settings.temperature), strict=True
    ):
        texts.append(player.tokenizer.text(written.ids))
        decision.texts.append(
            {
                "match_id": decision.match.match_id,
                "game": decision.match.game.name,
                "round": decision.view.round,
                "seat": SEATS[decision.seat],
                "agent": decision.agent.name,
                "model": decision.agent.model,
                "mode": decision.agent.mode,
                "kind": kind,
                "attempt": attempt,
                "prompt_id": prompt_id(asked.ids),
                "seed": f"{asked.seed:016x}",
                "text": texts[-1],
                "n_tokens": len(written.ids),
                "stopped": bool(written.stopped),
                "answer": None,
            }
        )
    return texts


def _score(
    decisions: Sequence[Decision],
    texts: Sequence[str],
    stems: Sequence[str | None],
    player: Player,
) -> list[dict[str, Any]]:
    tokenizer = player.tokenizer
    labels = [decision.match.surface.action_labels for decision in decisions]
    prompts = []
    for decision, encoded in zip(decisions, encode_many(tokenizer, texts, labels), strict=True):
        ids, *tokens = encoded
        _check_length(decision, player, len(ids) + max(len(label) for label in tokens))
        prompts.append(LabelledPrompt(ids, (tokens[0], tokens[1])))
    if all(stem is None for stem in stems):
        logprobs = player.scorer.label_logprobs(prompts)
    else:
        heads = tokenizer.encode_many([stem or "" for stem in stems])
        kept = [
            len(prompt.ids) if stem is None else _common(prompt.ids, head)
            for prompt, stem, head in zip(prompts, stems, heads, strict=True)
        ]
        logprobs = player.scorer.label_logprobs(prompts, kept)
    chances, mass = label_probabilities(logprobs)
    return [
        _belief(float(chances[k, 0]), float(chances[k, 1]))
        | {
            "prompt_id": prompt_id(prompt.ids),
            "n_tokens": len(prompt.ids),
            "label_mass": float(mass[k]),
        }
        for k, prompt in enumerate(prompts)
    ]


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    for n, (a, b) in enumerate(zip(first, second, strict=False)):
        if a != b:
            return n
    return min(len(first), len(second))


def _check_length(decision: Decision, player: Player, needed: int) -> None:
    most = player.tokenizer.max_length
    if most is not None and needed > most:
        raise DataError(
            f"{decision.match.match_id}: round {decision.view.round} needs {needed} tokens "
            f"and {player.tokenizer.name} takes {most}; set matches.rounds or "
            "matches.history_window lower"
        )
