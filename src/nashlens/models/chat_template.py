"""Chat templates: code from strangers, which must not change what a model is asked.

A prompt holds each message once, nothing that nobody wrote but marks of turns, and ends in an open
turn of the assistant, outside any reasoning. `ChatTemplate` finds out with three made-up messages
whether a template's text is such a prompt, and mends what can be mended:

- a template that refuses or drops the system message gets it at the start of the first user turn;
- one that writes a system message of its own where there is none gets an empty one;
- one that knows no generation prompt opens the assistant's turn as it does before an answer;
- a reasoning block that it opens is closed.

What is left of another kind is refused. `nashlens.models.template_check` tries all of it in a
process of bounded time and memory, before anything of the template runs here.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

from nashlens.errors import ModelError

Message = Mapping[str, str]
Chat = list[dict[str, str]]

TEMPLATE_DATE = datetime(2024, 7, 26)
"""What a chat template's clock shows; Llama 3.1's own default date."""

# Contents that no template has by itself, with what templates trim, escape or split at.
_SYSTEM = 'Zebra one: "a" & <b> it\'s\n\n  3 | {4}.'
_USER = 'Quokka two: "c" & <d> don\'t\n\n  5 | {6}?'
_ANSWER = "Narwhal three"
# Words that name whose turn it is, and brackets that mark one.
_ROLES = {
    *("system", "user", "assistant", "model", "human", "bot", "ai", "gpt", "inst", "sys"),
    *("instruction", "instructions", "response", "input", "output", "question", "answer"),
}
_BRACKETS = re.compile(r"</?[^<>\s]{1,60}>|<<[^<>\s]{1,60}>>|\[/?[A-Z_]{2,40}\]")
_WORD = re.compile(r"[^\W\d_]+")
_OPENS = re.compile(
    r"(?P<open><(?P<tag>think|thinking|thought|thoughts|reason|reasoning|seed:think)>"
    r"|<\|begin_of_thought\|>|\[THINK\])"
)


@dataclass(frozen=True)
class Reading:
    """How a template is used for messages with, or without, a system message."""

    merged: bool = False
    """The system message stands at the start of the first user turn."""
    emptied: bool = False
    """An empty system message stands in the place of the template's own."""
    opened: bool = False
    """The assistant's turn is opened as before an answer."""
    closing: str = ""
    """What closes a reasoning block that the template opens."""
    note: str = ""
    """What differs from the template's own text, or stands in it that nobody wrote; empty where
    nothing does."""


class ChatTemplate:
    """A chat template, in a sandbox.

    Parameters
    ----------
    source : str
        Jinja2 text.
    special : mapping of str to str
        Special tokens by role (`bos_token`, ...), which templates write.
    marks : iterable of str
        All special tokens of the tokenizer.

    Raises
    ------
    ModelError
        The text is no template.
    """

    def __init__(self, source: str, special: Mapping[str, str], marks: Iterable[str] = ()):
        self._special = dict(special)
        self._marks = sorted({*marks, *special.values()} - {""}, key=len, reverse=True)
        self._readings: dict[bool, Reading] = {}
        try:
            self._template = _environment().from_string(source)
        except Exception as error:  # constants are computed here, with any error of Python's
            raise ModelError(f"the chat template is damaged: {_said(error)}") from None

    def chat(self, messages: Sequence[Message]) -> str:
        """Render messages, ready for the assistant's next word.

        Raises
        ------
        ModelError
            The template fails, or does not give each message once.
        """
        plain = [{"role": m["role"], "content": m["content"]} for m in messages]
        if not any(m["content"] for m in plain if m["role"] == "system"):
            plain = [m for m in plain if m["role"] != "system"]
        reading = self.reading(any(m["role"] == "system" for m in plain))
        text = self._write(plain, reading)
        for message in plain:
            content = message["content"].strip()
            if content not in text:
                raise ModelError(
                    f"the chat template drops or changes the {message['role']} message that starts "
                    f"{content[:40]!r}"
                )
        return text

    def reading(self, system: bool) -> Reading:
        """Return how the template is used, with or without a system message.

        Raises
        ------
        ModelError
            It cannot be used.
        """
        if system not in self._readings:
            self._readings[system] = self._read(system)
        return self._readings[system]

    def _read(self, system: bool) -> Reading:
        user = {"role": "user", "content": _USER}
        written = [{"role": "system", "content": _SYSTEM}, user] if system else [user]
        asked = [_SYSTEM, _USER] if system else [_USER]
        ways = [Reading(), Reading(merged=True) if system else Reading(emptied=True)]
        texts: list[str] = []
        failures: list[str] = []
        for way in ways:
            try:
                text = self._render(_prepared(written, way))
                _check_once(text, asked)
                texts.append(text)
            except ModelError as error:
                texts.append("")
                failures.append(str(error))
        if not any(texts):
            raise ModelError(failures[0])
        # Without a system message, the second way is taken only where it adds fewer words.
        first = texts[0] and (system or not self._added(texts[0], asked))
        taken = 0 if first or not texts[1] or (texts[0] and self._added(texts[1], asked)) else 1
        notes = []
        if taken and system:
            notes.append("the template has no system message: it starts the first user turn")
        elif taken:
            notes.append(
                "the template writes a system message of its own where there is none: an empty one"
                " takes its place"
            )
        added = self._added(texts[taken], asked)
        if added:
            if not system and added != self._always_added():
                raise ModelError(
                    f"without a system message the chat template writes {added!r}, which nobody"
                    " asked for: set prompts.system to a text, or the model's chat_template to none"
                )
            notes.append(f"the template adds to every prompt: {added!r}")
        way = self._turn(_prepared(written, ways[taken]), texts[taken], notes)
        return Reading(
            merged=bool(taken) and system,
            emptied=bool(taken) and not system,
            opened=way.opened,
            closing=way.closing,
            note="; ".join(notes),
        )

    def _always_added(self) -> str:
        """Return what nobody wrote in a prompt that has a system message."""
        messages = [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": _USER}]
        for way in (Reading(), Reading(merged=True)):
            with contextlib.suppress(ModelError):
                return self._added(self._render(_prepared(messages, way)), [_SYSTEM, _USER])
        return ""

    def _turn(self, messages: Chat, text: str, notes: list[str]) -> Reading:
        """Find out how the assistant's turn is opened; say what is mended."""
        opened, closing = False, _closing(text)
        try:
            before = self._opening(messages)
        except ModelError:
            before = None
        silent = text == self._render(messages, prompt=False)
        if silent and before is None:
            raise ModelError(
                "the chat template opens no turn of the assistant; set the model's chat_template to"
                " none"
            )
        if silent and before is not None and before.rstrip() != text.rstrip():
            if not before.startswith(text.rstrip()):
                raise ModelError(
                    "the chat template writes other turns before an answer than it does without"
                    " one; set the model's chat_template to none"
                )
            opened, closing = True, _closing(before)
            notes.append(
                "the template has no generation prompt: the assistant's turn is opened as before an"
                " answer"
            )
        if closing:
            notes.append("the template opens a reasoning block, which is closed empty")
        return Reading(opened=opened, closing=closing)

    def _opening(self, messages: Chat) -> str:
        """Return what the template writes before an answer."""
        answered = [*messages, {"role": "assistant", "content": _ANSWER}]
        text = self._render(answered, prompt=False)
        if text.count(_ANSWER) != 1:
            raise ModelError("the chat template drops the assistant's answer")
        return text[: text.index(_ANSWER)]

    def _write(self, messages: Chat, reading: Reading) -> str:
        prepared = _prepared(messages, reading)
        text = self._opening(prepared) if reading.opened else self._render(prepared)
        return text + reading.closing

    def _added(self, text: str, asked: Sequence[str]) -> str:
        """Return the words that are neither a message's nor mark turns, as one line."""
        for content in asked:
            text = text.replace(content, "\n")
        for mark in self._marks:
            text = text.replace(mark, "\n")
        lines = _BRACKETS.sub("\n", text).splitlines()
        kept = [
            line
            for line in lines
            if any(word.lower() not in _ROLES for word in _WORD.findall(line))
        ]
        return " ".join(" ".join(kept).split())

    def _render(self, messages: Chat, *, prompt: bool = True) -> str:
        try:
            return self._template.render(
                messages=messages,
                tools=None,
                documents=None,
                add_generation_prompt=prompt,
                enable_thinking=False,
                **self._special,
            )
        except Exception as error:  # a template can raise whatever Python can
            raise ModelError(f"the chat template failed: {_said(error)}") from None


def _prepared(messages: Chat, reading: Reading) -> Chat:
    """Return the messages as they are given to the template."""
    if reading.emptied:
        return [{"role": "system", "content": ""}, *messages]
    return _merge_system(messages) if reading.merged else messages


def _merge_system(messages: Chat) -> Chat:
    system = [m["content"] for m in messages if m["role"] == "system" and m["content"]]
    rest = [dict(m) for m in messages if m["role"] != "system"]
    for message in rest:
        if message["role"] == "user":
            message["content"] = "\n\n".join([*system, message["content"]])
            break
    return rest


def _check_once(text: str, asked: Sequence[str]) -> None:
    """Refuse a prompt that does not hold each message once, in order."""
    place = 0
    for content, name in zip(asked, ["system", "user"][-len(asked) :], strict=True):
        if text.count(content) != 1:
            times = {0: "drops or changes"}.get(text.count(content), "repeats")
            raise ModelError(f"the chat template {times} the {name} message")
        found = text.index(content)
        if found < place:
            raise ModelError("the chat template changes the order of the messages")
        place = found + len(content)


def _closing(text: str) -> str:
    """Return what closes the reasoning block that a text ends in; nothing where it ends in none."""
    found = list(_OPENS.finditer(text))
    if not found:
        return ""
    last = found[-1]
    opening = last["open"]
    closing = {"<|begin_of_thought|>": "<|end_of_thought|>", "[THINK]": "[/THINK]"}.get(
        opening, f"</{last['tag']}>"
    )
    rest = text[last.end() :]
    if closing in rest:
        return ""
    return f"{'' if rest.endswith(chr(10)) else chr(10)}\n{closing}\n\n"


def _said(error: Exception) -> str:
    """Return an error in a short line."""
    if isinstance(error, RecursionError):
        return "it calls itself without end"
    if isinstance(error, MemoryError):
        raise error
    if isinstance(error, jinja2.TemplateNotFound) or "no loader" in str(error):
        return "it includes another file, and there is none"
    text = " ".join(str(error).split())[:160]
    return text if isinstance(error, jinja2.TemplateError) else f"{type(error).__name__}: {text}"


def _environment() -> ImmutableSandboxedEnvironment:
    # As transformers' chat templates expect it. They come with a model and are not trusted: the
    # sandbox keeps them from Python's internals, and they see nothing but strings.
    def refuse(message: str) -> None:
        raise jinja2.TemplateError(message)

    def tojson(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, **options)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = TEMPLATE_DATE.strftime
    return environment


class _Generation(jinja2.ext.Extension):
    """Accepts ``{% generation %}``, which marks the assistant's text for training."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)
