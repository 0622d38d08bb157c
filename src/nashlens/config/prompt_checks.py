"""Checks of a model's prompts before any job: its chat template, tokenizer and labels."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nashlens.config.design import action_labels
from nashlens.config.problems import problem_line
from nashlens.config.rules import REFUSED, RefusedError, passed, places
from nashlens.config.sections import Config

if TYPE_CHECKING:
    from nashlens.models.tokenizer import ChatTokenizer


@dataclass(frozen=True)
class PreflightFacts:
    """What is known of a model before anything is made from it."""

    n_layers: int | None = None
    tokenizer: Path | None = None
    template: str | None = None
    """Chat template of a model whose tokenizer is not read here."""
    special_tokens: tuple[str, ...] = ()
    """Of such a model likewise."""
    stranger: bool = False
    """Its chat template and tokenizer were not tried before."""
    vocab_size: int | None = None
    """Rows of the embedding."""
    problems: tuple[str, ...] = ()


def prompt_problems(
    config: Config, name: str, facts: PreflightFacts, say: Callable[[str], None] | None
) -> list[str]:
    """Say what is wrong with texts of the config in a model's prompts.

    Parameters
    ----------
    config : Config
    name : str
        The model.
    facts : PreflightFacts
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
    # Where one of these was refused, no template is tried, and labels without a system message.
    plain = passed(config.models[name], "chat_template", "none") == "none"
    prompts = passed(config, "prompts", REFUSED)
    system = passed(prompts, "system", None)
    if facts.tokenizer is None:
        note = "" if plain else _template_note(facts.template, system)
        found = list(_special_problems(config, name, facts.special_tokens))
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
        note = tokenizer.template_note(system=bool(system))
        found = [
            *_special_problems(config, name, tokenizer.special_tokens),
            *_label_problems(config, name, tokenizer, system),
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


_TEXTS = (
    *("prompts.system", "prompts.assistant_prefix", "modes.cot.anchor"),
    *("prompts.label_sets.*", "games.*.title", "games.*.actions"),
)
"""Keys whose texts stand in prompts."""


def _special_problems(config: Config, name: str, marks: Sequence[str]) -> Iterator[str]:
    """Yield texts of the config that would end or start a turn in this model's prompts."""
    for pattern in _TEXTS:
        for path, found, _ in places(config, pattern.split("."), partial=True):
            # A label set may be a word of ours.
            one = isinstance(found, str) and "label_sets" not in path
            texts = [found] if one else found if isinstance(found, list) else []
            held = [mark for mark in marks if mark and any(mark in text for text in texts)]
            if held:
                cure = f"{held[0]!r} is a special token of model {name}; write it in another way"
                yield problem_line(path, found, cure)


def _label_problems(
    config: Config, name: str, tokenizer: ChatTokenizer, system: str | None
) -> list[str]:
    from nashlens.prompts.labels import check_label_sets

    # Wherever labels are scored: after the answer's start, and after reasoning.
    starts = [start for _, start, _ in places(config, ["prompts", "assistant_prefix"])]
    agents = passed(config, "agents", {}).values()
    modes = [(passed(agent, "model", None), passed(agent, "mode", None)) for agent in agents]
    if (name, "cot") in modes:
        starts += [anchor for _, anchor, _ in places(config, ["modes", "cot", "anchor"])]
    actions = {}
    for path, entry, _ in places(config, ["games", "*"]):
        with suppress(RefusedError):
            actions[str(path[1])] = action_labels(entry)
    sets = {
        str(path[2]): labels for path, labels, _ in places(config, ["prompts", "label_sets", "*"])
    }
    found = [check_label_sets(tokenizer, sets, start, actions, system) for start in starts]
    return list(dict.fromkeys(problem for problems in found for problem in problems))
