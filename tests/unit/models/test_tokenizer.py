import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest

from nashlens.errors import ModelError
from nashlens.models.chat_template import TEMPLATE_DATE
from nashlens.models.tokenizer import ChatTokenizer

from .test_inspect import _env

LLAMA3 = """{{- bos_token }}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- endif %}
{%- endif %}
{%- for message in messages %}
    {%- if loop.first and message['role'] == 'system' %}
        {{- '<|start_header|>system<|end_header|>\\n\\nToday Date: ' + date_string + '\\n\\n' }}
        {{- message['content'] | trim + '<|eot|>' }}
        {%- continue %}
    {%- endif %}
    {{- '<|start_header|>' + message['role'] + '<|end_header|>\\n\\n'}}
    {%- generation %}{{- message['content'] | trim }}{% endgeneration %}
    {{- '<|eot|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header|>assistant<|end_header|>\\n\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
"""
# As Mistral's first templates: a system message breaks the alternation.
NO_SYSTEM = """{{ bos_token }}{% for message in messages %}
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{ raise_exception('roles must alternate user/assistant') }}
{% endif %}
{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}
{% else %}{{ message['content'] + eos_token }}{% endif %}{% endfor %}"""
DROPS_SYSTEM = """{% for message in messages if message['role'] != 'system' %}
{{ message['role'] + ': ' + message['content'] + '\\n' }}{% endfor %}"""
MESSAGES = [
    {"role": "system", "content": "You play a game."},
    {"role": "user", "content": "Choose A or B.\n\nRound 12: you chose A. <|eot|> é漢"},
]
TEXTS = ["", " ", "A", "  3 points\n\n4 points\n 12", "don't\t7é 漢字 🙂", "Round 1:\n\n\n9,9"]


def reference(folder):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def check_against_transformers(folder, messages=MESSAGES):
    ours, theirs = ChatTokenizer(folder), reference(folder)
    text = theirs.apply_chat_template(
        messages,
        tokenize=False,
        add_generation_prompt=True,
        enable_thinking=False,
        date_string=TEMPLATE_DATE.strftime("%d %b %Y"),
    )
    assert ours.chat(messages) == text
    for each in [*TEXTS, text]:
        plain = theirs.encode(each, add_special_tokens=False)
        assert ours.encode(each)[-len(plain) or len(ours.encode(each)) :] == plain
        if ours.bos_id is None:
            assert ours.encode(each) == theirs.encode(each)
        else:
            assert ours.encode(each).count(ours.bos_id) == 1
            if not each.startswith(theirs.bos_token):
                assert ours.encode(each) == theirs.encode(each)
    # What follows the last special token is encoded by itself, and a label after it as well.
    piece = ours.last_piece(text)
    alone, with_label = (
        [i for i in ours.encode(t) if i != ours.bos_id] for t in (piece, piece + " J")
    )
    assert ours.encode(text)[-len(alone) :] == alone
    assert ours.encode(text + " J")[-len(with_label) :] == with_label
    assert len(ours.encode(text + " J")) - len(with_label) == len(ours.encode(text)) - len(alone)
    return ours


@pytest.mark.parametrize("processor", [True, False])
@pytest.mark.parametrize("add", [None, True, False])
def test_a_llama3_like_model_is_as_in_transformers(byte_level, processor, add):
    config = {} if add is None else {"add_bos_token": add}
    folder = byte_level(bos_in_processor=processor, template=LLAMA3, **config)
    ours = check_against_transformers(folder)
    # Whatever add_bos_token says: so it is in transformers, where there is a tokenizer.json.
    assert (ours.bos_id is not None) == processor
    text = ours.chat(MESSAGES)
    assert "Today Date: 26 Jul 2024" in text
    # The template writes a BOS: still one, whether the tokenizer adds its own or not.
    assert ours.encode(text).count(ours._tokenizer.token_to_id("<|begin|>")) == 1


def test_a_template_in_its_own_file_wins(byte_level):
    folder = byte_level(template="old")
    (folder / "chat_template.jinja").write_text(LLAMA3)
    check_against_transformers(folder)


def test_the_default_of_several_templates(byte_level):
    named = [
        {"name": "tool_use", "template": "tools"},
        {"name": "default", "template": LLAMA3},
    ]
    check_against_transformers(byte_level(template=named))


def test_special_tokens_written_as_objects(byte_level):
    folder = byte_level(template=LLAMA3, bos_token={"__type": "AddedToken", "content": "<|begin|>"})
    assert ChatTokenizer(folder).chat(MESSAGES).startswith("<|begin|><|start_header|>system")


@pytest.mark.parametrize("template", [NO_SYSTEM, DROPS_SYSTEM])
def test_a_template_without_a_system_role_gets_it_in_the_user_turn(byte_level, template):
    folder = byte_level(template=template)
    merged = [{"role": "user", "content": f"You play a game.\n\n{MESSAGES[1]['content']}"}]
    text = ChatTokenizer(folder).chat(MESSAGES)
    # With an answer, as the second of the two knows no generation prompt.
    answered = reference(folder).apply_chat_template(
        [*merged, {"role": "assistant", "content": "ANSWER"}], tokenize=False
    )
    assert text == answered.partition("ANSWER")[0]
    assert text.count("You play a game.") == 1


def test_templates_that_fail_say_so(byte_level):
    folder = byte_level(template="{{ raise_exception('no') }}")
    with pytest.raises(ModelError, match="chat template failed: no"):
        ChatTokenizer(folder).chat(MESSAGES)
    folder = byte_level(template="{% for")
    with pytest.raises(ModelError, match="chat template is damaged"):
        ChatTokenizer(folder).chat(MESSAGES)


def test_templates_cannot_leave_the_sandbox(byte_level):
    folder = byte_level(template="{{ messages.__class__.__mro__[1].__subclasses__() }}")
    with pytest.raises(ModelError, match="unsafe"):
        ChatTokenizer(folder).chat(MESSAGES)
    folder = byte_level(template="{{ messages.append(1) }}")
    with pytest.raises(ModelError, match="unsafe"):
        ChatTokenizer(folder).chat(MESSAGES)


def test_without_a_template_it_is_plain_text(planted):
    ours = ChatTokenizer(planted["random_qwen2"])
    assert ours.bos_id is None
    assert not ours.has_template
    assert ours.chat(MESSAGES) == f"You play a game.\n\n{MESSAGES[1]['content']}\n\n"


def test_planted_tokenizers_are_as_in_transformers(planted):
    ours = check_against_transformers(planted["random"])
    assert ours.bos_id is not None
    assert ours.max_length == 4096
    assert ours.name == "random"


def test_damaged_files_are_named(planted, tmp_path):
    with pytest.raises(ModelError, match=r"no tokenizer\.json"):
        ChatTokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match=r"tokenizer\.json: cannot be read"):
        ChatTokenizer(tmp_path)


def test_it_needs_neither_torch_nor_transformers(planted):
    code = (
        "import sys\n"
        "from nashlens.models.tokenizer import ChatTokenizer\n"
        f"t = ChatTokenizer({str(planted['random'])!r})\n"
        "assert t.encode(t.chat([{'role': 'user', 'content': 'You play A'}]))\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=_env())


@pytest.mark.embedded
def test_the_embedded_model_is_as_in_transformers(embedded):
    ours = check_against_transformers(embedded[0])
    assert ours.bos_id is None
    assert ours.max_length == 8192
    assert ours.chat(MESSAGES).startswith("<|im_start|>system\nYou play a game.<|im_end|>\n")


@pytest.mark.embedded
def test_the_embedded_model_splits_digits_as_its_makers_do(embedded):
    # The split of tokenizer.ggml.pre "smollm": every digit by itself, then GPT-2's. Without the
    # first step the two line breaks before a digit would be two tokens.
    ours = ChatTokenizer(embedded[0])
    breaks = ours.encode("\n\n")
    assert len(breaks) == 1
    assert ours.encode("\n\n3") == [*breaks, *ours.encode("3")]
    assert ours.encode("  12") == [*ours.encode("  "), *ours.encode("1"), *ours.encode("2")]


def test_the_last_piece_starts_at_the_last_special_token(byte_level):
    tokenizer = ChatTokenizer(byte_level(template=LLAMA3))
    assert tokenizer.last_piece("a<|eot|>b<|eot|> c") == "<|eot|> c"
    assert tokenizer.last_piece("no such token") == "no such token"
    assert tokenizer.last_piece("") == ""


def test_many_texts_encode_as_one_by_one(planted):
    texts = ["Round 1: you", "", "<bos>again", "option J or option F?", "3"]
    for folder in planted.values():
        tokenizer = ChatTokenizer(folder)
        assert tokenizer.encode_many(texts) == [tokenizer.encode(text) for text in texts]
    assert tokenizer.encode_many([]) == []


def test_what_a_model_wrote_holds_no_special_token(tiny_model):
    tokenizer = ChatTokenizer(tiny_model)
    plain = tokenizer.encode("I choose option J")
    bos, eos = tokenizer.bos_id, min(tokenizer.stop_ids)
    assert tokenizer.text([*plain, eos, *plain[1:]]) == "I choose option J I choose option J"
    assert bos not in tokenizer.encode(tokenizer.text(plain))[1:]


def test_a_special_token_that_is_spelled_out_is_taken_out(tiny_model, monkeypatch):
    tokenizer = ChatTokenizer(tiny_model)
    spelled = SimpleNamespace(
        decode=lambda ids, skip_special_tokens: "a <e<eos>os><user> b",
        get_added_tokens_decoder=tokenizer._tokenizer.get_added_tokens_decoder,
    )
    monkeypatch.setattr(tokenizer, "_tokenizer", spelled)
    assert tokenizer.text([1]) == "a  b"


def test_an_answer_ends_at_every_token_that_the_model_names(tiny_model, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    eos = ChatTokenizer(folder).encode("<eos>")[-1]
    assert ChatTokenizer(folder).stop_ids == {eos}
    (folder / "generation_config.json").write_text('{"eos_token_id": [7, 9]}')
    assert ChatTokenizer(folder).stop_ids == {7, 9, eos}
    (folder / "generation_config.json").unlink()
    assert ChatTokenizer(folder).stop_ids == {eos}
