"""How an agent decides: at once, after reasoning, with its notes, or after a prediction.

Whatever the mode, the two labels are scored in the end, so every decision of a model has a
P(action). In mode cot they are scored after the reasoning and the anchor: what the model wrote
before its own final-answer line if it wrote one, else all of it. The line that it wrote itself is
parsed as well (`answers`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from nashlens.engine.forest import shared_prefix
from nashlens.engine.generation import Request
from nashlens.engine.labels import LabelledPrompt, label_probabilities
from nashlens.errors import DataError
from nashlens.games.game import SEATS
from nashlens.play.answers import VALID, Answer, before_answer, final_answer
from nashlens.play.player import Cot, Player, PlaySettings, PlayTokenizer
from nashlens.play.quotes import message_of, quotable
from nashlens.play.schedule import Agent, Match
from nashlens.prompts import templates
from nashlens.prompts.labels import encode_prompt, encode_prompts, prompt_id
from nashlens.prompts.render import (
    View,
    action_question,
    belief_question,
    question_messages,
    render,
)
from nashlens.seeds import stream
from nashlens.strategies import cooperation


@dataclass
class PendingDecision:
    """One seat of one match in one round, before it is decided."""

    match: Match
    seat: int
    """0 for the row seat, 1 for the column seat."""
    view: View
    texts: list[dict[str, Any]] = field(default_factory=list)
    """What the agent wrote before it decided, one row a text (`docs/reference/results.md`)."""

    @property
    def agent(self) -> Agent:
        """The agent that decides."""
        return (self.match.row, self.match.column)[self.seat]


class _Reasoning(NamedTuple):
    text: str
    """What the model wrote last."""
    answer: Answer
    """The final answer in it."""


class _Prediction(NamedTuple):
    text: str
    """What the agent says that the other does: the likelier action."""
    p_action_0: float
    """P(the other takes action 0)."""


class _Scored(NamedTuple):
    text: str
    """The text after which a decision's labels are scored."""
    stem: str | None
    """The start of it that later prompts of the match share; None for all of it."""
    given: str | None = None
    """The start of it that a steered player was given before it reasoned; None elsewhere."""


def decide_actions(
    decisions: Sequence[PendingDecision], players: Mapping[str, Player], settings: PlaySettings
) -> list[dict[str, Any]]:
    """Return each decision's action probabilities, and how the agent came to them.

    Parameters
    ----------
    decisions : sequence of PendingDecision
        Their `texts` and, in mode scratchpad, the notes of their `view` are brought up to date.
    players : mapping of str to Player
        By `Agent.player`: the model's name, or the agent's where it is steered.
    settings : PlaySettings

    Returns
    -------
    list of dict
        Columns of the play table: `p_action_0`, `p_action_1`, `prompt_id`, `n_tokens`,
        `label_mass`, `answer`, `parsed_action`, `attempts`, `n_written`, `p_expected_0`.
    """
    beliefs: list[dict[str, Any]] = [{} for _ in decisions]
    for i, decision in enumerate(decisions):
        agent, view = decision.agent, decision.view
        if agent.strategy is not None:
            p = cooperation(agent.strategy, view.own, view.other, agent.p)
            beliefs[i] = _belief(p, 1.0 - p)
    for name, indices in _by_player(decisions).items():
        found = _decide_with([decisions[i] for i in indices], players[name], settings)
        for i, belief in zip(indices, found, strict=True):
            beliefs[i] = belief
    return beliefs


def write_messages(
    decisions: Sequence[PendingDecision], players: Mapping[str, Player], settings: PlaySettings
) -> list[str]:
    """Return the message that each seat sends before this round's moves; scripts send none."""
    messages = [""] * len(decisions)
    for name, indices in _by_player(decisions).items():
        chosen, player = [decisions[i] for i in indices], players[name]
        prompts = [
            _request(decision, player, templates.WRITE_MESSAGE, templates.MESSAGE_PREFIX, settings)
            for decision in chosen
        ]
        texts = _write(chosen, prompts, player, settings, "message", settings.talk_tokens)
        for i, text in zip(indices, texts, strict=True):
            messages[i] = message_of(text)
    return messages


def _by_player(decisions: Sequence[PendingDecision]) -> dict[str, list[int]]:
    """Return the indices of each player's decisions; scripted agents have none."""
    indices: dict[str, list[int]] = {}
    for i, decision in enumerate(decisions):
        if decision.agent.player is not None:
            indices.setdefault(decision.agent.player, []).append(i)
    return indices


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
        "p_expected_0": np.nan,
    }


def _decide_with(
    decisions: Sequence[PendingDecision], player: Player, settings: PlaySettings
) -> list[dict[str, Any]]:
    """Decide for one model, in whatever modes it plays."""
    _take_notes(decisions, player, settings)
    reasonings = _reason(decisions, player, settings)
    predictions = _predict(decisions, player, settings)
    scored = []
    for i, decision in enumerate(decisions):
        if i in reasonings:
            cot = _cot(settings)
            prompt = _prompt(decision, player, settings, cot.anchor)
            before = before_answer(reasonings[i].text, cot.anchor).rstrip()
            start = f"{before}\n{cot.anchor}" if before else cot.anchor
        else:
            prompt = _prompt(decision, player, settings)
            start = settings.assistant_prefix
            if i in predictions:
                start = f"{predictions[i].text}. {start}"
        stem = None if decision.agent.mode == "direct" else _stem(decision, prompt)
        reasoned = i in reasonings and decision.agent.intervention is not None
        scored.append(_Scored(prompt + start, stem, prompt if reasoned else None))
    beliefs = _score(decisions, scored, player)
    for i, (decision, belief) in enumerate(zip(decisions, beliefs, strict=True)):
        if i in reasonings:
            answer = reasonings[i].answer
            belief |= {"answer": answer.status, "parsed_action": answer.action}
        if i in predictions:
            belief["p_expected_0"] = predictions[i].p_action_0
        if decision.texts:
            belief["attempts"] = decision.texts[-1]["attempt"]
            belief["n_written"] = sum(text["n_tokens"] for text in decision.texts)
    return beliefs


def _predict(
    decisions: Sequence[PendingDecision], player: Player, settings: PlaySettings
) -> dict[int, _Prediction]:
    """Ask agents in mode predict what the other does; who has seen it predicts nothing."""
    asked = [
        i
        for i, decision in enumerate(decisions)
        if decision.agent.mode == "predict" and decision.view.seen is None
    ]
    starts, scored = [], []
    for i in asked:
        question, start = belief_question(decisions[i].view)
        messages = question_messages(decisions[i].view, question, system=settings.system)
        prompt = player.tokenizer.chat(messages)
        starts.append(start)
        scored.append(_Scored(prompt + start, _stem(decisions[i], prompt)))
    if not asked:
        return {}
    found = _score([decisions[i] for i in asked], scored, player)
    predictions = {}
    for i, start, belief in zip(asked, starts, found, strict=True):
        likelier = int(belief["p_action_0"] < belief["p_action_1"])
        label = decisions[i].view.surface.label(likelier)
        predictions[i] = _Prediction(f"{start} {label}", belief["p_action_0"])
    return predictions


def _take_notes(
    decisions: Sequence[PendingDecision], player: Player, settings: PlaySettings
) -> None:
    """Let agents in mode scratchpad write their notes anew."""
    noting = [decision for decision in decisions if decision.agent.mode == "scratchpad"]
    if not noting:
        return
    if settings.scratchpad is None:
        raise DataError("an agent plays in mode scratchpad; give modes.scratchpad")
    prompts = [
        _request(decision, player, templates.WRITE_NOTES, templates.NOTES_PREFIX, settings)
        for decision in noting
    ]
    texts = _write(noting, prompts, player, settings, "notes", settings.scratchpad.tokens)
    for decision, text in zip(noting, texts, strict=True):
        decision.view = replace(decision.view, notes=quotable(text))


def _reason(
    decisions: Sequence[PendingDecision], player: Player, settings: PlaySettings
) -> dict[int, _Reasoning]:
    """Let agents in mode cot reason; return each one's last reasoning by its index."""
    pending = [i for i, decision in enumerate(decisions) if decision.agent.mode == "cot"]
    if not pending:
        return {}
    cot = _cot(settings)
    prompts = {i: _prompt(decisions[i], player, settings, cot.anchor) for i in pending}
    reasonings: dict[int, _Reasoning] = {}
    for attempt in range(1, 2 + (cot.retries if cot.answer == "parsed" else 0)):
        chosen, asked = [decisions[i] for i in pending], [prompts[i] for i in pending]
        texts = _write(chosen, asked, player, settings, "reasoning", cot.tokens, attempt)
        for i, text in zip(pending, texts, strict=True):
            labels = decisions[i].match.surface.action_labels
            reasonings[i] = _Reasoning(text, final_answer(text, labels, cot.anchor))
            decisions[i].texts[-1]["answer"] = reasonings[i].answer.status
        pending = [i for i in pending if reasonings[i].answer.status != VALID]
        if not pending:
            break
    return reasonings


def _cot(settings: PlaySettings) -> Cot:
    if settings.cot is None:
        raise DataError("an agent plays in mode cot; give modes.cot")
    return settings.cot


def _request(
    decision: PendingDecision, player: Player, text: str, prefix: str, settings: PlaySettings
) -> str:
    """Return the prompt that asks for notes or a message."""
    view = decision.view
    line = text.format(round=view.round, player=view.template.other)
    messages = question_messages(view, line, system=settings.system)
    return render(messages, player.tokenizer.chat, prefix)


def _prompt(
    decision: PendingDecision, player: Player, settings: PlaySettings, anchor: str | None = None
) -> str:
    """Return the prompt that asks for an action, after reasoning if there is an anchor."""
    line = action_question(decision.view, anchor)
    return player.tokenizer.chat(question_messages(decision.view, line, system=settings.system))


def _stem(decision: PendingDecision, prompt: str) -> str:
    """Return the start of a prompt that the match's later prompts share."""
    stem = "\n".join(decision.view.stem())
    return prompt[: prompt.find(stem) + len(stem)] if stem in prompt else ""


def _write(
    decisions: Sequence[PendingDecision],
    prompts: Sequence[str],
    player: Player,
    settings: PlaySettings,
    kind: str,
    tokens: int,
    attempt: int = 1,
) -> list[str]:
    """Let a model write one text after each prompt, and record it with its decision."""
    if player.write is None:
        raise DataError(f"{player.tokenizer.name}: {kind} is wanted, and nothing generates it")
    requests = []
    stems = [_stem(decision, prompt) for decision, prompt in zip(decisions, prompts, strict=True)]
    stem_ids = player.tokenizer.encode_many(stems)
    for decision, prompt, shared in zip(decisions, prompts, stem_ids, strict=True):
        ids = encode_prompt(player.tokenizer, prompt)
        _check_length(decision, player, len(ids) + tokens)
        # Of the block: a player whose text is about no form writes the same in all four.
        name = ("text", decision.match.draws_id, decision.view.round, SEATS[decision.seat])
        seed = int(stream(settings.seed, *name, kind, attempt).integers(2**62))
        requests.append(Request(ids, seed, tokens, _common_length(ids, shared)))
    texts = []
    for decision, request, written in zip(
        decisions, requests, player.write(requests, temperature=settings.temperature), strict=True
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
                "prompt_id": prompt_id(request.ids),
                "seed": f"{request.seed:016x}",
                "text": texts[-1],
                "n_tokens": len(written.ids),
                "stopped": bool(written.stopped),
                "answer": None,
            }
        )
    return texts


def _score(
    decisions: Sequence[PendingDecision], scored: Sequence[_Scored], player: Player
) -> list[dict[str, Any]]:
    tokenizer = player.tokenizer
    labels = [decision.match.surface.action_labels for decision in decisions]
    encoded = encode_prompts(tokenizer, [one.text for one in scored], labels)
    for decision, prompt in zip(decisions, encoded, strict=True):
        _check_length(decision, player, prompt.n_tokens_with_label)
    prompts = [
        LabelledPrompt(prompt.ids, prompt.labels, _written(tokenizer, prompt.ids, one.given))
        for prompt, one in zip(encoded, scored, strict=True)
    ]
    if all(one.stem is None for one in scored):
        logprobs = player.scorer.label_logprobs(prompts)
    else:
        stem_ids = tokenizer.encode_many([one.stem or "" for one in scored])
        kept = [
            len(prompt.ids) if one.stem is None else _common_length(prompt.ids, shared)
            for prompt, one, shared in zip(prompts, scored, stem_ids, strict=True)
        ]
        logprobs = player.scorer.label_logprobs(prompts, kept)
    probabilities, mass = label_probabilities(logprobs)
    return [
        _belief(float(probabilities[k, 0]), float(probabilities[k, 1]))
        | {
            "prompt_id": prompt_id(prompt.ids),
            "n_tokens": len(prompt.ids),
            "label_mass": float(mass[k]),
        }
        for k, prompt in enumerate(prompts)
    ]


def _written(tokenizer: PlayTokenizer, ids: Sequence[int], given: str | None) -> int:
    """Return how many of the last tokens come after what the player was given."""
    if given is None:
        return 0
    return len(ids) - _common_length(ids, encode_prompt(tokenizer, given))


def _common_length(first: Sequence[int], second: Sequence[int]) -> int:
    return shared_prefix(np.asarray(first), np.asarray(second))


def _check_length(decision: PendingDecision, player: Player, needed: int) -> None:
    most = player.tokenizer.max_length
    if most is not None and needed > most:
        raise DataError(
            f"{decision.match.match_id}: round {decision.view.round} needs {needed} tokens "
            f"and {player.tokenizer.name} takes {most}; set matches.rounds or "
            "matches.history_window lower"
        )
