"""The planted models' tokenizer: one token a word, a digit or a mark.

White space only separates tokens, so a label's tokens never depend on what comes before it.
"""

from __future__ import annotations

import json
import string
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors

from nashlens.prompts.templates import vocabulary

UNK, BOS, EOS, PAD = "<unk>", "<bos>", "<eos>", "<pad>"
ROLES = ("<system>", "<user>", "<assistant>")
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<' + message['role'] + '>' + message['content'] + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)
"""A chat template without a BOS: the tokenizer adds it, as Llama 2's does."""


def _splitter() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Punctuation("isolated"),
            pre_tokenizers.Digits(individual_digits=True),
        ]
    )


def planted_words() -> list[str]:
    """Return the planted vocabulary without special tokens, sorted.

    The prompts' own words, and every letter, digit and ASCII mark, so that labels and payoffs of
    any config have tokens.
    """
    splitter = _splitter()
    pieces = {*string.ascii_letters, *string.digits, *string.punctuation}
    for entry in vocabulary():
        pieces.update(piece for piece, _ in splitter.pre_tokenize_str(entry))
    return sorted(pieces)


def build_tokenizer(*, bos: bool) -> Tokenizer:
    """Build the word-level tokenizer.

    Parameters
    ----------
    bos : bool
        Prepend `<bos>` in the normal encoding.

    Returns
    -------
    tokenizers.Tokenizer
    """
    special = [UNK, BOS, EOS, PAD, *ROLES]
    ids = {word: i for i, word in enumerate([*special, *planted_words()])}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=UNK))
    tokenizer.pre_tokenizer = _splitter()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in special])
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{BOS} $A",
            pair=f"{BOS} $A {BOS} $B",
            special_tokens=[(BOS, ids[BOS])],
        )
    return tokenizer


def write_tokenizer(
    tokenizer: Tokenizer, folder: Path, *, bos: bool, chat_template: str | None
) -> None:
    """Write tokenizer.json and tokenizer_config.json, as transformers reads them."""
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": UNK,
        "eos_token": EOS,
        "pad_token": PAD,
        "clean_up_tokenization_spaces": False,
    }
    if bos:
        config["bos_token"] = BOS
    if chat_template is not None:
        config["chat_template"] = chat_template
    text = json.dumps(config, indent=2, sort_keys=True)
    (folder / "tokenizer_config.json").write_text(text + "\n", encoding="utf-8")


def write_words(folder: Path) -> dict[str, int]:
    """Write the word tokenizer with a BOS and a chat template, for a model of any architecture.

    Returns
    -------
    dict of str to int
        The ids of its special tokens, under config.json's names; also in generation_config.json.
    """
    tokenizer = build_tokenizer(bos=True)
    write_tokenizer(tokenizer, folder, bos=True, chat_template=CHAT_TEMPLATE)
    ids = tokenizer.get_vocab()
    special = {"bos_token_id": ids[BOS], "eos_token_id": ids[EOS], "pad_token_id": ids[PAD]}
    text = json.dumps(special, indent=2, sort_keys=True)
    (folder / "generation_config.json").write_text(text + "\n", encoding="utf-8")
    return special
