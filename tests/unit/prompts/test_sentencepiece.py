"""Labels in SentencePiece tokenizers: with and without the mark of a space, and in Chinese."""

import json

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

from nashlens.errors import LabelError
from nashlens.models.tokenizer import ChatTokenizer
from nashlens.prompts.labels import check_label_sets, encode_labels

BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
PIECES = [
    *(
        "▁",
        "▁I",
        "▁choose",
        "▁option",
        "▁J",
        "J",
        "F",
        "▁Coop",
        "erate",
        "\n",
        "\n\n",
        "▁合作",
        "合作",
    ),
    *("背叛", "我选择", "选项", ":", "?", "▁?", "▁Q", "Q", "Z", "o", "p"),
]
WORDS = "I choose option"


def build(folder, scheme):
    """Return a tokenizer of pieces; what none of them holds becomes bytes."""
    folder.mkdir(parents=True)
    special = ["<unk>", "<s>", "</s>"]
    scored = [(piece, 0.0) for piece in [*special, *BYTES]]
    scored += [(piece, -1.0 - 0.01 * k) for k, piece in enumerate(PIECES)]
    tokenizer = Tokenizer(models.Unigram(scored, unk_id=0, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=True)
    tokenizer.decoder = decoders.Sequence(
        [decoders.ByteFallback(), decoders.Metaspace(prepend_scheme=scheme), decoders.Fuse()]
    )
    tokenizer.add_special_tokens(special)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>"}))
    return ChatTokenizer(folder), tokenizer.id_to_token


@pytest.fixture(scope="module", params=["always", "first", "never"])
def made(request, tmp_path_factory):
    return build(tmp_path_factory.mktemp("pieces") / request.param, request.param)


def pieces(made, text, labels):
    """Return both labels' tokens as pieces; what they hold is checked on the way."""
    tokenizer, name = made
    found = encode_labels(tokenizer, text, labels)
    for label, ids in zip(labels, found.labels, strict=True):
        space = "" if text[-1:].isspace() else " "
        assert tokenizer.encode(f"{text}{space}{label}") == found.ids + ids
        whole, before = tokenizer.decode(found.ids + ids), tokenizer.decode(found.ids)
        assert whole[len(before) :].strip() == label
    return [[name(i) for i in ids] for ids in found.labels]


def test_a_label_after_a_word_starts_with_the_mark(made):
    assert pieces(made, WORDS, ("J", "Cooperate")) == [["▁J"], ["▁Coop", "erate"]]


def test_a_label_after_a_line_break_starts_without_it(made):
    assert pieces(made, f"{WORDS}:\n", ("J", "F")) == [["J"], ["F"]]


def test_where_the_mark_is_a_token_by_itself_labels_share_it_and_differ_later(made):
    assert pieces(made, WORDS, ("F", "Z")) == [["▁", "F"], ["▁", "Z"]]
    assert encode_labels(made[0], WORDS, ("F", "Z")).n_shared == 1
    # One of the two has a piece of its own with the mark.
    assert pieces(made, WORDS, ("J", "F")) == [["▁J"], ["▁", "F"]]
    assert encode_labels(made[0], WORDS, ("J", "F")).n_shared == 0


def test_labels_in_chinese(made):
    assert pieces(made, WORDS, ("合作", "背叛")) == [["▁合作"], ["▁", "背叛"]]
    assert pieces(made, "我选择选项", ("合作", "背叛")) == [["▁合作"], ["▁", "背叛"]]
    # Written as bytes, as any character can be: both start with the same.
    first, second = pieces(made, WORDS, ("甲", "申"))
    assert first == ["▁", "<0xE7>", "<0x94>", "<0xB2>"]
    assert second == ["▁", "<0xE7>", "<0x94>", "<0xB3>"]
    assert encode_labels(made[0], WORDS, ("甲", "申")).n_shared == 3
    sets = {"zh": ["合作", "背叛"], "bytes": ["甲", "申"], "mixed": ["J", "背叛"]}
    assert check_label_sets(made[0], sets, WORDS) == []


def test_a_label_that_starts_with_the_other_is_refused(made):
    tokenizer, _ = made
    with pytest.raises(LabelError, match="start with all of the other's"):
        encode_labels(tokenizer, WORDS, ("合作", "合作背叛"))
