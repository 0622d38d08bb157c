"""A model's tokenizer and chat template, without torch or transformers.

`ChatTokenizer` gives the same text and ids as transformers' ``apply_chat_template`` and ``encode``
(tests hold them equal), with three choices that an experiment needs:

- exactly one BOS, whether the template or the tokenizer writes it;
- a template's clock always shows `TEMPLATE_DATE`, so that prompts, and everything made from
  them, do not change overnight;
- ``enable_thinking`` is false, so that templates which know it leave no open reasoning block.

A template that changes what is asked is mended, and says so (`ChatTokenizer.template_note`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from tokenizers import Tokenizer

from nashlens.errors import ModelError
from nashlens.files import sha256_of
from nashlens.models.chat_template import ChatTemplate, Message
from nashlens.models.json_files import read_json_object
from nashlens.models.manifest import CONVERT_AGAIN
from nashlens.models.registry import config_value
from nashlens.models.template_check import check_template
from nashlens.vocabulary.models import TOKENIZER_FILES

_SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token")


class ChatTokenizer:
    """Text to token ids, and messages to text, for one model.

    Parameters
    ----------
    folder : path
        A converted model: tokenizer.json, tokenizer_config.json and perhaps chat_template.jinja.
    plain : bool, default False
        Leave the model's chat template out.

    Raises
    ------
    ModelError
        A file is missing or damaged.
    """

    def __init__(self, folder: Path | str, *, plain: bool = False):
        self.folder = Path(folder)
        self.plain = plain
        self.name = self.folder.resolve().name
        path = self.folder / "tokenizer.json"
        if not path.is_file():
            raise ModelError(f"{self.folder}: no tokenizer.json: {CONVERT_AGAIN}")
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise ModelError(f"{path}: cannot be read ({error}): {CONVERT_AGAIN}") from None
        # Prompts are dropped when too long, never cut, and are packed without padding.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._config = read_json_object(self.folder / "tokenizer_config.json")
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
        value = config_value(
            read_json_object(self.folder / "config.json"), "max_position_embeddings"
        )
        return value if isinstance(value, int) else None

    @cached_property
    def digest(self) -> str:
        """What two tokenizers have in common that give the same ids, texts and `max_length`."""
        read = [path for name in TOKENIZER_FILES if (path := self.folder / name).is_file()]
        said = [f"{path.name} {sha256_of(path)}" for path in read]
        return " ".join([*said, f"plain={self.plain}", f"max_length={self.max_length}"])

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
        """Tokens that end an answer: those of the generation configuration, and the EOS.

        Without a generation configuration, config.json names them.
        """
        generation = read_json_object(self.folder / "generation_config.json").get("eos_token_id")
        if generation is None:
            generation = read_json_object(self.folder / "config.json").get("eos_token_id")
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
        marks = self.special_tokens
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
            By the chat template, mended where it changes what is asked (`chat_template`; see
            `template_note`). Without a template: the contents as paragraphs, each with a blank line
            after it.

        Raises
        ------
        ModelError
            The template cannot render the messages.
        """
        template = self._template
        if template is None:
            return "".join(f"{m['content']}\n\n" for m in messages if m["content"])
        try:
            return template.chat(messages)
        except ModelError as error:
            raise ModelError(f"{self.folder}: {error}") from None

    def template_note(self, *, system: bool) -> str:
        """Say what `chat` mends of the template, or finds in it that nobody wrote.

        Parameters
        ----------
        system : bool
            The messages have a system message.

        Returns
        -------
        str
            Empty where there is nothing to say.

        Raises
        ------
        ModelError
            The template cannot be used.
        """
        if self._template is None:
            return ""
        try:
            return self._template.reading(system).note
        except ModelError as error:
            raise ModelError(f"{self.folder}: {error}") from None

    def check_template(self) -> None:
        """Try the template in bounded time and memory, on a prompt of each wording.

        Raises
        ------
        ModelError
            It cannot be used.
        """
        from nashlens.prompts.samples import sample_messages

        source = self._template_source()
        try:
            if source is not None:
                check_template(source, self._special, self.special_tokens, sample_messages())
        except ModelError as error:
            raise ModelError(f"{self.folder}: {error}") from None

    @cached_property
    def _template(self) -> ChatTemplate | None:
        source = self._template_source()
        if source is None:
            return None
        try:
            return ChatTemplate(source, self._special, self.special_tokens)
        except ModelError as error:
            raise ModelError(f"{self.folder}: {error}") from None

    def beyond(self, rows: int) -> str:
        """Say which token has no row in an embedding of so many; empty where each that is used has.

        Added tokens beyond it, of which some models have more than rows, may be there unused.
        """
        words = self._tokenizer.get_vocab(with_added_tokens=False)
        asked = self.chat([{"role": "user", "content": "?"}]) if self._mended() else ""
        used = {token: token_id for token, token_id in words.items() if token_id >= rows}
        used |= {self.decode([i]): i for i in self.encode(asked) if i >= rows}
        if not used:
            return ""
        token, highest = max(used.items(), key=lambda item: item[1])
        return (
            f"tokenizer.json gives {token[:40]!r} the id {highest}, and the embedding has {rows}"
            " rows: the two belong to different models"
        )

    def _mended(self) -> bool:
        try:
            self.template_note(system=False)
        except ModelError:
            return False
        return True

    @cached_property
    def special_tokens(self) -> list[str]:
        """The texts of all special tokens."""
        return [t.content for t in self._tokenizer.get_added_tokens_decoder().values() if t.special]

    def _template_source(self) -> str | None:
        if self.plain:
            return None
        file = self.folder / "chat_template.jinja"
        if file.is_file():
            try:
                return file.read_text(encoding="utf-8")
            except (OSError, ValueError) as error:
                raise ModelError(f"{file}: cannot be read as UTF-8 text ({error})") from None
        found = self._config.get("chat_template")
        if found is None:
            found = read_json_object(self.folder / "chat_template.json").get("chat_template")
        if isinstance(found, list):  # several by name
            by_name = {str(t.get("name")): t.get("template") for t in found if isinstance(t, dict)}
            found = by_name.get("default")
        if found is not None and not isinstance(found, str):
            kind = type(found).__name__
            raise ModelError(f"{self.folder}: chat_template is of type {kind}; a text is needed")
        return found or None

    def _special_tokens(self) -> dict[str, str]:
        # special_tokens_map.json is older; tokenizer_config.json wins.
        found = {**read_json_object(self.folder / "special_tokens_map.json"), **self._config}
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
