import hashlib
import struct

import pytest

from nashlens.errors import LabelError
from nashlens.prompts.labels import check_label_sets, encode_labels, encode_prompt, prompt_id
from tests.unit.prompts.fakes import CharTokenizer, DoubleBosTokenizer, WordTokenizer

TEXT = "Which one? I choose option"


def test_prompt_and_label_tokens_are_the_whole_texts_tokens():
    tokenizer = WordTokenizer()
    ids, (first, second) = encode_labels(tokenizer, TEXT, ("J", "F"))
    assert ids + first == tokenizer.encode(TEXT + " J")
    assert ids + second == tokenizer.encode(TEXT + " F")
    assert len(first) == len(second) == 1


def test_only_the_last_piece_is_encoded_with_the_labels():
    class Cutting(WordTokenizer):
        """Encodes what follows the last bar by itself."""

        def last_piece(self, text):
            return text[text.rfind("|") + 1 :]

        def encode_many(self, texts):
            self.seen = list(texts)
            return super().encode_many(texts)

    tokenizer = Cutting(bos=True)
    text = "Rules.| Which one? I choose"
    ids, (first, second) = encode_labels(tokenizer, text, ("J", "F"))
    assert ids + first == tokenizer.encode(text + " J")
    assert ids + second == tokenizer.encode(text + " F")
    assert [t for t in tokenizer.seen if t.endswith(("J", "F"))] == [
        " Which one? I choose J",
        " Which one? I choose F",
    ]


def test_a_piece_that_is_not_encoded_by_itself_is_refused():
    class Wrong(WordTokenizer):
        def last_piece(self, text):
            return text[-3:]

    with pytest.raises(LabelError, match="not encoded by itself"):
        encode_labels(Wrong(), TEXT, ("J", "F"))


def test_a_label_of_several_tokens_is_kept_whole():
    tokenizer = CharTokenizer()
    ids, (first, second) = encode_labels(tokenizer, TEXT + "\n", ("Up", "Down"))
    assert len(ids) == len(TEXT) + 1
    assert (tokenizer.decode(first), tokenizer.decode(second)) == ("Up", "Down")


def test_no_space_is_added_after_white_space():
    tokenizer = CharTokenizer()
    _, (first, _) = encode_labels(tokenizer, "Answer: ", ("J", "F"))
    assert tokenizer.decode(first) == "J"


def test_labels_may_share_their_first_tokens():
    # A character tokenizer gives " J" and " F" the same first token, the space.
    asked = encode_labels(CharTokenizer("chars"), TEXT, ("Jot", "Jar"))
    assert asked.n_shared == 2
    assert asked.labels[0][:2] == asked.labels[1][:2]
    assert encode_labels(WordTokenizer(), TEXT, ("J", "F")).n_shared == 0


def test_labels_of_unknown_words_are_refused():
    with pytest.raises(LabelError, match="words that a tokenizer does not know"):
        encode_labels(CharTokenizer(), TEXT, ("Up", "Up"))


def test_a_label_that_starts_with_the_other_is_refused():
    with pytest.raises(LabelError, match="start with all of"):
        encode_labels(CharTokenizer(), TEXT + "\n", ("Up", "Upper"))
    with pytest.raises(LabelError, match="start with all of"):
        encode_labels(WordTokenizer(), TEXT, ("A B", "A"))


def test_a_label_that_changes_the_prompts_tokens_is_refused():
    # The trailing space is a token of its own until a word follows it.
    with pytest.raises(LabelError, match=r"fake: label 'J' changes the tokens.*assistant_prefix"):
        encode_labels(WordTokenizer(), TEXT + " ", ("J", "F"))


@pytest.mark.parametrize("options", [{"bos": True}, {"template_bos": True}])
def test_exactly_one_bos(options):
    tokenizer = WordTokenizer(**options)
    text = tokenizer.chat([{"role": "user", "content": "?"}]) + "I choose option"
    ids, (first, _) = encode_labels(tokenizer, text, ("J", "F"))
    assert (ids[0], ids.count(0), first.count(0)) == (0, 1, 0)


def test_a_double_bos_is_refused():
    tokenizer = DoubleBosTokenizer("llama", template_bos=True)
    text = tokenizer.chat([{"role": "user", "content": "?"}])
    with pytest.raises(LabelError, match=r"llama: .* 2 times .*exactly one BOS"):
        encode_prompt(tokenizer, text)


def test_a_missing_bos_is_refused():
    tokenizer = WordTokenizer()
    tokenizer.bos_id = 10**6
    with pytest.raises(LabelError, match="exactly one BOS"):
        encode_prompt(tokenizer, TEXT)


def test_an_empty_prompt_is_refused():
    with pytest.raises(LabelError, match="no tokens"):
        encode_prompt(WordTokenizer(), "")


def test_prompt_id_is_the_hash_of_little_endian_int32():
    expected = hashlib.sha256(struct.pack("<3i", 1, 2, 70000)).hexdigest()[:32]
    assert prompt_id([1, 2, 70000]) == expected
    assert prompt_id([1, 2]) != prompt_id([2, 1])


def test_preflight_lists_every_problem_by_its_key():
    sets = {
        "jf": ["J", "F"],
        "same": ["A", "a"],
        "space": ["B ", "C"],
        "again": ["F", "J"],
        "starts": ["A", "A B"],
    }
    problems = check_label_sets(WordTokenizer("tiny"), sets, "I choose option")
    keys = [problem.split(":")[0].removeprefix("prompts.label_sets.") for problem in problems]
    assert keys == ["same", "space", "again", "starts"]
    assert "tiny" in problems[-1]
    assert all("\n" not in problem for problem in problems)


def test_preflight_is_silent_where_all_is_well():
    sets = {"jf": ["J", "F"], "xy": ["X", "Y"], "words": ["up", "down"]}
    assert check_label_sets(WordTokenizer(bos=True), sets, "I choose option") == []
