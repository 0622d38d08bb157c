"""Checks of a model's prompts before any job: its chat template, tokenizer and labels."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nashlens.config.design import action_labels
from nashlens.config.problems import KeyPath, problem_line
from nashlens.config.sections import Config

if TYPE_CHECKING:
    from nashlens.models.tokenizer import ChatTokenizer


@dataclass(frozen=True)
class Facts:
    """What is known of a model before anything is made from it."""

    n_layers: int | None = None
    tokenizer: Path | None = None
    template: str | None = None
    """Chat template of a model whose tokenizer is not read here."""
    stranger: bool = False
    """Its chat template and tokenizer were not tried before."""
    vocab_size: int | None = None
    """Rows of the embedding."""
    problems: tuple[str, ...] = ()


def prompt_problems(
    config: Config, name: str, facts: Facts, say: Callable[[str], None] | None
) -> list[str]:
    """Say what is wrong with texts of the config in a model's prompts.

    Parameters
    ----------
    config : Config
    name : str
        The model.
    facts : Facts
        What is known of it.
    say : callable or None
        Is given one line where the chat template is mended, or adds words to every prompt.

    Returns
    -------
    list of str
        One line a problem.

    Raises
    ------
    NashlensError
        The model's own tokenizer or template cannot be used.
    """
    plain = config.models[name].chat_template == "none"
    if facts.tokenizer is None:
        note = "" if plain else _template_note(facts.template, config.prompts.system)
        found = []
    else:
        from nashlens.errors import ModelError
        from nashlens.models.tokenizer import ChatTokenizer

        tokenizer = ChatTokenizer(facts.tokenizer, plain=plain)
        # A planted one would be called by the name of its temporary folder.
        tokenizer.name = name
        if facts.stranger:
            tokenizer.check_template()
            beyond = tokenizer.beyond(facts.vocab_size or sys.maxsize)
            if beyond:
                raise ModelError(beyond)
        note = tokenizer.template_note(system=bool(config.prompts.system))
        found = [
            *_special_problems(config, name, tokenizer.special_tokens),
            *_label_problems(config, name, tokenizer),
        ]
    if note and say is not None:
        say(f"model {name}: {note}")
    return found


def _template_note(source: str | None, system: str | None) -> str:
    """Try the chat template of a GGUF file, whose special tokens cost much to read."""
    if not source:
        return ""
    from nashlens.models.chat_template import ChatTemplate
    from nashlens.models.template_check import check_template
    from nashlens.prompts.samples import sample_messages

    special = {"bos_token": "<bos>", "eos_token": "<eos>"}
    check_template(source, special, (), sample_messages())
    return ChatTemplate(source, special).reading(bool(system)).note


def _special_problems(config: Config, name: str, marks: Sequence[str]) -> Iterator[str]:
    """Yield texts of the config that would end or start a turn in this model's prompts."""
    prompts = config.prompts
    texts: dict[KeyPath, Sequence[str]] = {
        ("prompts", "system"): [prompts.system or ""],
        ("prompts", "assistant_prefix"): [prompts.assistant_prefix],
        ("modes", "cot", "anchor"): [config.modes.cot.anchor],
        **{
            ("prompts", "label_sets", key): labels
            for key, labels in prompts.label_sets.items()
            if not isinstance(labels, str)
        },
        **{("games", key, "title"): [game.title or ""] for key, game in config.games.items()},
        **{("games", key, "actions"): game.actions or [] for key, game in config.games.items()},
    }
    for path, found in texts.items():
        held = [mark for mark in marks if mark and any(mark in text for text in found)]
        if held:
            shown = found[0] if len(found) == 1 else list(found)
            cure = f"{held[0]!r} is a special token of model {name}; write it in another way"
            yield problem_line(path, shown, cure)


def _label_problems(config: Config, name: str, tokenizer: ChatTokenizer) -> list[str]:
    from nashlens.prompts.labels import check_label_sets

    # Wherever labels are scored: after the answer's start, and after reasoning.
    starts = [config.prompts.assistant_prefix]
    if any(agent.model == name and agent.mode == "cot" for agent in config.agents.values()):
        starts.append(config.modes.cot.anchor)
    actions = {game: action_labels(entry) for game, entry in config.games.items()}
    sets = config.prompts.label_sets
    system = config.prompts.system
    found = [check_label_sets(tokenizer, sets, start, actions, system) for start in starts]
    return list(dict.fromkeys(problem for problems in found for problem in problems))
