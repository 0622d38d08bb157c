"""The token of a position ends its piece of text, in every kind of tokenizer."""

import json
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers.trainers import BpeTrainer

from nashlens.errors import LabelError
from nashlens.games import CATALOG, SEATS
from nashlens.models.tokenizer import ChatTokenizer
from nashlens.planted.recipes import CHAT_TEMPLATE as PLANTED
from nashlens.planted.tokenizer import build_tokenizer, write_tokenizer
from nashlens.prompts.positions import find_positions, piece_ends
from nashlens.prompts.render import Surface, View, decision_messages, render
from nashlens.prompts.templates import TEMPLATES
from nashlens.vocabulary.positions import (
    OPTIONS,
    PAYOFFS,
    POSITION_PATTERN,
    expand_positions,
    round_position,
)
from nashlens.vocabulary.prompts import LABEL_MAPS, OPTION_ORDERS
from tests.unit.prompts.fakes import CharTokenizer, WordTokenizer

EVERY = ["decision", "options", "payoffs", "rounds"]
LABELS = [("J", "F"), ("Cooperate", "Defect"), ("left side", "right side"), ("漢", "🙂é")]
CHAT = (
    "{% for m in messages %}<|start|>{{ m['role'] }}\n{{ m['content'] | trim }}<|end|>\n"
    "{% endfor %}<|start|>assistant\n"
)
NO_SYSTEM = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}"
    "{{ raise_exception('no system') }}{% endif %}[INST] {{ m['content'] }} [/INST]{% endfor %}"
)


@st.composite
def views(draw):
    surface = Surface(
        draw(st.sampled_from(list(TEMPLATES))),
        "l",
        draw(st.sampled_from(LABELS)),
        draw(st.sampled_from(LABEL_MAPS)),
        draw(st.sampled_from(OPTION_ORDERS)),
    )
    played = draw(st.integers(0, 11))
    moves = st.lists(st.integers(0, 1), min_size=played, max_size=played)
    game = CATALOG[draw(st.sampled_from(sorted(CATALOG)))]
    return View(game, draw(st.sampled_from(SEATS)), surface, draw(moves), draw(moves))


def corpus():
    view = View(CATALOG["chicken"], "row", Surface("neutral", "l", LABELS[1]), [0, 1], [1, 1])
    text = decision_messages(view, system=None)[0]["content"]
    # Line ends after a full stop become one token, as in large vocabularies.
    return [text, *text.split("\n"), ".\n" * 50]


def byte_level(folder):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(
                Regex(r"[^\r\n\w]?\p{L}+|\p{N}| ?[^\s\w]+[\r\n]*|\s*[\r\n]+|\s+"),
                "isolated",
            ),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=500,
        special_tokens=["<|start|>", "<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    return tokenizer, {"chat_template": CHAT, "eos_token": "<|end|>"}


def metaspace(folder):
    """As Llama 2's: spaces become a mark, unknown characters bytes, and a BOS stands first."""
    alphabet = [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split("\n", "isolated"),
            pre_tokenizers.Split("▁", "merged_with_next"),
            pre_tokenizers.Punctuation("isolated"),
        ]
    )
    trainer = BpeTrainer(vocab_size=800, special_tokens=["<unk>", "<s>", "</s>", *alphabet])
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    return tokenizer, {"chat_template": NO_SYSTEM, "bos_token": "<s>", "eos_token": "</s>"}


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    found = {"words": WordTokenizer(bos=True), "characters": CharTokenizer(template_bos=True)}
    for make in (byte_level, metaspace):
        folder = tmp_path_factory.mktemp(make.__name__)
        tokenizer, config = make(folder)
        tokenizer.save(str(folder / "tokenizer.json"))
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
        found[make.__name__] = ChatTokenizer(folder)
    folder = tmp_path_factory.mktemp("planted")
    write_tokenizer(build_tokenizer(bos=True), folder, bos=True, chat_template=PLANTED)
    found["planted"] = ChatTokenizer(folder)
    return found


def prompt_of(tokenizer, view):
    messages = decision_messages(view, system="You are playing a game.")
    text = render(messages, tokenizer.chat, "I choose option")
    return text, tokenizer.encode(text)


def expected_ends(view):
    """Return what the text up to each piece's end ends with, found by other means: by search."""
    content = decision_messages(view, system=None)[0]["content"]
    lines = content.split("\n")
    first, second = (view.surface.label(action) for action in view.surface.order)
    played = [line for line in lines[:-1] if re.match(r"Round \d+:", line)]
    cells = lines[lines.index(view.template.aim) - 4 : lines.index(view.template.aim)]
    found = dict(zip(PAYOFFS, cells, strict=True))
    found |= {round_position(back): line for back, line in enumerate(reversed(played))}
    head = f"Round {len(played) + 1}: do you choose option {first}"
    return found | dict(zip(OPTIONS, (head, f"{head} or option {second}"), strict=True))


@given(view=views())
def test_pieces_end_where_their_text_ends(view):
    content, ends = piece_ends(view)
    assert content == decision_messages(view, system=None)[0]["content"]
    expected = expected_ends(view)
    assert set(ends) == set(expected)
    for name, end in ends.items():
        assert content[:end].endswith(expected[name])
    # In the order in which they are read.
    places = [ends[name] for name in (*PAYOFFS, *[round_position(b) for b in range(12)][::-1])
              if name in ends]  # fmt: skip
    assert places == sorted(places)
    assert max(places) < ends["option_first"] < ends["option_second"]


@pytest.mark.parametrize("name", ["words", "characters", "byte_level", "metaspace", "planted"])
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(view=views())
def test_a_positions_token_ends_its_piece(tokenizers, name, view):
    tokenizer = tokenizers[name]
    text, ids = prompt_of(tokenizer, view)
    names = expand_positions(EVERY, [12])
    found = find_positions(tokenizer, view, text, ids, names)
    assert list(found) == names
    assert found["decision"] == len(ids) - 1
    played = len(view.own)
    assert [found[round_position(back)] is None for back in range(11)] == [
        back >= played for back in range(11)
    ]
    squeeze = (lambda s: re.sub(r"\s", "", s)) if name == "planted" else str
    for position, line in expected_ends(view).items():
        index = found[position]
        upto, token = tokenizer.decode(ids[: index + 1]), tokenizer.decode([ids[index]])
        if name == "planted" and view.surface.labels != LABELS[0]:
            continue  # its words are those of the templates: others decode to <unk>
        # What is read with this token ends the piece, except for a line break in the same token.
        assert squeeze(upto.rstrip("\n")).endswith(squeeze(line)), (position, line, token)
        before = tokenizer.decode(ids[:index])
        assert not squeeze(before).endswith(squeeze(line))


def test_one_token_of_a_full_stop_and_a_line_break_is_the_pieces_end(tokenizers):
    tokenizer = tokenizers["byte_level"]
    view = View(CATALOG["chicken"], "row", Surface("neutral", "l", ("J", "F")), [0], [1])
    text, ids = prompt_of(tokenizer, view)
    found = find_positions(tokenizer, view, text, ids, ["payoff_1", "round_last"])
    assert tokenizer.decode([ids[found["payoff_1"]]]) == ".\n"
    assert tokenizer.decode([ids[found["round_last"]]]) == ".\n"


def test_only_asked_positions_are_looked_for(tokenizers, monkeypatch):
    tokenizer = tokenizers["words"]
    view = View(CATALOG["chicken"], "row", Surface("neutral", "l", ("J", "F")), [], [])
    text, ids = prompt_of(tokenizer, view)
    monkeypatch.delattr(WordTokenizer.__mro__[1], "spans")
    assert find_positions(tokenizer, view, text, ids, ["decision"]) == {"decision": len(ids) - 1}


def test_a_template_that_rewrites_the_question_is_refused(tokenizers):
    tokenizer = tokenizers["words"]
    view = View(CATALOG["chicken"], "row", Surface("neutral", "l", ("J", "F")), [0], [1])
    text, _ = prompt_of(tokenizer, view)
    upper = text.upper()
    with pytest.raises(LabelError, match=r"word for word.*activations\.positions"):
        find_positions(tokenizer, view, upper, tokenizer.encode(upper), ["payoff_1"])


def test_talk_and_windows_move_the_rounds():
    surface = Surface("table", "l", ("J", "F"))
    talk = [("I play J.", ""), ("", "")]
    view = View(CATALOG["chicken"], "row", surface, [0, 1, 1], [1, 1, 0], talk=talk, window=2)
    content, ends = piece_ends(view)
    assert content[: ends["round_last"]].split("\n")[-1].startswith("Round 3: you chose option F")
    assert content[: ends["round_last-1"]].split("\n")[-1].startswith("Round 2: you chose option F")
    assert "round_last-2" not in ends


@given(st.lists(st.sampled_from([*EVERY, "payoff_2", "round_last", "round_last-3"]), unique=True))
def test_names_expand_in_the_stored_order(asked):
    names = expand_positions(asked, [1, 3, 5])
    every = expand_positions(EVERY, [5])
    assert names == [name for name in every if name in set(names)]
    assert all(re.match(POSITION_PATTERN, name) for name in names)
    assert ("round_last-3" in names) == bool({"rounds", "round_last-3"} & set(asked))
    assert every[7:] == [round_position(back) for back in range(4)]


def test_without_a_history_there_are_no_rounds():
    assert expand_positions(["rounds", "decision"], [1]) == ["decision"]
    assert expand_positions(["round_last-7", "decision"], [3]) == ["decision"]
