"""A model's tokenizer and chat template, without torch or transformers.

`ChatTokenizer` gives the same text and ids as transformers' ``apply_chat_template`` and ``encode``
(tests hold them equal), with three choices that an experiment needs:

- exactly one BOS, whether the template or the tokenizer writes it;
- a template's clock always shows `TEMPLATE_DATE`, so that prompts, and everything made from
  them, do not change overnight;
- ``enable_thinking`` is false, so that templates which know it leave no open reasoning block.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from nashlens.errors import ModelError
from nashlens.models.registry import config_value

TEMPLATE_DATE = datetime(2024, 7, 26)
"""What a chat template's clock shows; Llama 3.1's own default date."""
_SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token")

Message = Mapping[str, str]


class ChatTokenizer:
    """Text to token ids, and messages to text, for one model.

    Parameters
    ----------
    folder : path
        A converted model: tokenizer.json, tokenizer_config.json and perhaps chat_template.jinja.

    Raises
    ------
    ModelError
        A file is missing or damaged.
    """

    def __init__(self, folder: Path | str):
        self.folder = Path(folder)
        self.name = self.folder.resolve().name
        path = self.folder / "tokenizer.json"
        if not path.is_file():
            raise ModelError(f"{self.folder}: no tokenizer.json; convert the model into it first")
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise ModelError(f"{path}: cannot be read ({error}); convert it again") from None
        # Prompts are dropped when too long, never cut, and are packed without padding.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._config = _read_json(self.folder / "tokenizer_config.json")
        self._special = self._special_tokens()
        # None as well where a BOS has a name but is not added, as for models whose "BOS" is the
        # mark that opens each turn.
        self.bos_id: int | None = self._added_bos()

    @property
    def bos_token(self) -> str | None:
        """The text of `bos_id`."""
        return None if self.bos_id is None else self._tokenizer.id_to_token(self.bos_id)

    @property
    def vocab_size(self) -> int:
        """Number of tokens, added ones included."""
        return int(self._tokenizer.get_vocab_size())

    @property
    def has_template(self) -> bool:
        """The model has a chat template; without one, `chat` writes plain text."""
        return self._template is not None

    @cached_property
    def max_length(self) -> int | None:
        """Longest sequence of the model in tokens (its config's context), None if unknown."""
        value = config_value(_read_json(self.folder / "config.json"), "max_position_embeddings")
        return value if isinstance(value, int) else None

    def encode(self, text: str) -> list[int]:
        """Encode text.

        Parameters
        ----------
        text : str
            Special tokens written out in it, as a chat template does, become their ids.

        Returns
        -------
        list of int
            With one BOS in front where the model's own encoding has one, and not a second one
            where the text starts with it.
        """
        return self._with_bos(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def encode_many(self, texts: Sequence[str]) -> list[list[int]]:
        """Encode texts as `encode` does, on all cores."""
        encodings = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [self._with_bos(encoding.ids) for encoding in encodings]

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return the characters that each token of `encode` covers.

        Returns
        -------
        list of (int, int)
            From which character of the text, and up to which; equal for tokens of no character,
            as a BOS in front. Tokens that share a character have it both.
        """
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        added = len(self._with_bos(encoding.ids)) - len(encoding.ids)
        return [(0, 0)] * added + [(int(a), int(b)) for a, b in encoding.offsets]

    def last_piece(self, text: str) -> str:
        """Return the end of a text that is encoded by itself, whatever precedes it.

        Special tokens are cut out of a text before the rest is split into tokens, so from the last
        one on the ids do not depend on what precedes it.

        Returns
        -------
        str
            From the last special token on; the whole text where it has none.
        """
        return text[max([0, *(text.rfind(token) for token in self._cuts)]) :]

    @cached_property
    def _cuts(self) -> list[str]:
        added = self._tokenizer.get_added_tokens_decoder().values()
        return [t.content for t in added if t.special and not t.normalized and not t.single_word]

    def _with_bos(self, ids: list[int]) -> list[int]:
        if self.bos_id is not None and ids[:1] != [self.bos_id]:
            return [self.bos_id, *ids]
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids, special tokens included."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False))

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """Tokens that end an answer: those of the generation configuration, and the EOS."""
        generation = _read_json(self.folder / "generation_config.json").get("eos_token_id")
        found = generation if isinstance(generation, list) else [generation]
        eos = self._special.get("eos_token")
        named = None if eos is None else self._tokenizer.token_to_id(eos)
        return frozenset(i for i in (*found, named) if isinstance(i, int))

    def text(self, ids: Sequence[int]) -> str:
        """Return what a model wrote, as text that another prompt can hold.

        No special token is in it, even where it was spelled out: encoded again, it would end a
        turn or start one.
        """
        found = str(self._tokenizer.decode(list(ids), skip_special_tokens=True))
        marks = [
            t.content for t in self._tokenizer.get_added_tokens_decoder().values() if t.special
        ]
        while any(mark in found for mark in marks):
            for mark in marks:
                found = found.replace(mark, "")
        return found

    def chat(self, messages: Sequence[Message]) -> str:
        """Render messages, ready for the assistant's next word.

        Parameters
        ----------
        messages : sequence of mapping
            Each with `role` (system, user or assistant) and `content`.

        Returns
        -------
        str
            By the chat template with its generation prompt. A template that refuses or drops the
            system message gets it as the first paragraph of the first user turn. Without a
            template: the contents as paragraphs, each with a blank line after it.

        Raises
        ------
        ModelError
            The template cannot render the messages.
        """
        plain = [{"role": m["role"], "content": m["content"]} for m in messages]
        if self._template is None:
            return "".join(f"{m['content']}\n\n" for m in plain if m["content"])
        system = [m["content"] for m in plain if m["role"] == "system" and m["content"]]
        try:
            text = self._render(plain)
            if all(content.strip() in text for content in system):
                return text
        except jinja2.TemplateError as error:
            if not system:
                raise ModelError(f"{self.folder}: the chat template failed: {error}") from error
        try:
            return self._render(_merge_system(plain))
        except jinja2.TemplateError as error:
            raise ModelError(f"{self.folder}: the chat template failed: {error}") from error

    def _render(self, messages: list[dict[str, str]]) -> str:
        assert self._template is not None
        return self._template.render(
            messages=messages,
            tools=None,
            documents=None,
            add_generation_prompt=True,
            enable_thinking=False,
            **self._special,
        )

    @cached_property
    def _template(self) -> jinja2.Template | None:
        source = self._template_source()
        if source is None:
            return None
        try:
            return _environment().from_string(source)
        except jinja2.TemplateError as error:
            raise ModelError(f"{self.folder}: the chat template is damaged: {error}") from error

    def _template_source(self) -> str | None:
        file = self.folder / "chat_template.jinja"
        if file.is_file():
            return file.read_text(encoding="utf-8")
        found = self._config.get("chat_template")
        if isinstance(found, list):  # several by name
            by_name = {str(t.get("name")): t.get("template") for t in found if isinstance(t, dict)}
            found = by_name.get("default")
        return found if isinstance(found, str) and found else None

    def _special_tokens(self) -> dict[str, str]:
        # special_tokens_map.json is older; tokenizer_config.json wins.
        found = {**_read_json(self.folder / "special_tokens_map.json"), **self._config}
        special = {}
        for key in _SPECIAL:
            value = found.get(key)
            value = value.get("content") if isinstance(value, dict) else value
            if isinstance(value, str):
                special[key] = value
        return special

    def _added_bos(self) -> int | None:
        # What the post-processor puts before any text, if that is not an EOS. transformers reads
        # it too where there is a tokenizer.json, and not the configuration's add_bos_token.
        first: list[int] = self._tokenizer.encode("", add_special_tokens=True).ids[:1]
        named = [self._special.get(key) for key in ("bos_token", "eos_token")]
        bos, eos = (
            None if token is None else self._tokenizer.token_to_id(token) for token in named
        )
        return first[0] if first and (first[0] == bos or first[0] != eos) else None


def _merge_system(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    system = [m["content"] for m in messages if m["role"] == "system" and m["content"]]
    rest = [dict(m) for m in messages if m["role"] != "system"]
    for message in rest:
        if message["role"] == "user":
            message["content"] = "\n\n".join([*system, message["content"]])
            break
    return rest


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


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read as JSON ({error})") from None
    if not isinstance(found, dict):
        raise ModelError(f"{path}: a JSON object is needed, not {type(found).__name__}")
    return found
