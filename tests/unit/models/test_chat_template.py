"""Chat templates that change what is asked, or that are no good: mended, noted or refused."""

import json
import time

import pytest

from nashlens.errors import ModelError
from nashlens.models import template_check
from nashlens.models.chat_template import ChatTemplate
from nashlens.models.template_check import check_template
from nashlens.models.tokenizer import ChatTokenizer
from nashlens.prompts.samples import sample_messages

SYSTEM = {"role": "system", "content": "You play a game."}
USER = {"role": "user", "content": 'Choose A or B.\n\nRound 12: it\'s <b>"7" | {8}.'}
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}

TURNS = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] +"
    " '<|im_end|>\n' }}{% endfor %}"
)
ASKS = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
OWN = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are Bob, made by Acme."
    "<|im_end|>\n' }}{% endif %}"
)
THINKS = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}"
CLOSED = THINKS.replace("<think>\n", "<think>\n\n</think>\n\n")
ALTERNATES = (
    "{{ bos_token }}{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}{% if m['role'] == 'user' %}"
    "{{ '[INST] ' + m['content'] + ' [/INST]' }}{% else %}{{ ' ' + m['content'] + eos_token }}"
    "{% endif %}{% endfor %}"
)
HEADED = (
    "{{ bos_token }}<|h|>system<|/h|>\n\nCutting Knowledge Date: December 2023\nToday Date:"
    " {{ strftime_now('%d %b %Y') }}\n\n{% if messages[0]['role'] == 'system' %}"
    "{{ messages[0]['content'] | trim }}{% set messages = messages[1:] %}{% endif %}<|eot|>"
    "{% for m in messages %}<|h|>{{ m['role'] }}<|/h|>\n\n{{ m['content'] | trim }}<|eot|>"
    "{% endfor %}{% if add_generation_prompt %}<|h|>assistant<|/h|>\n\n{% endif %}"
)
CLASSIC = (
    "{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] }}"
    "{% set messages = messages[1:] %}{% else %}A chat between a curious user and an assistant."
    "{% endif %}{% for m in messages %}{{ ' ' + m['role'] | upper + ': ' + m['content'] }}"
    "{% endfor %}{% if add_generation_prompt %}{{ ' ASSISTANT:' }}{% endif %}"
)
DROPS = (
    "{% for m in messages if m['role'] != 'system' %}{{ m['role'] + ': ' + m['content'] + '\n' }}"
    "{% endfor %}"
)

im = "<|im_start|>{}\n{}<|im_end|>\n".format
ASSISTANT = "<|im_start|>assistant\n"
S, U = SYSTEM["content"], USER["content"]
# Template, with a system message or not, the prompt, and what its note holds.
MENDED = {
    "plain turns": (TURNS + ASKS, True, im("system", S) + im("user", U) + ASSISTANT, ""),
    "plain turns, no system": (TURNS + ASKS, False, im("user", U) + ASSISTANT, ""),
    "own system, given one": (
        *(OWN + TURNS + ASKS, True, im("system", S) + im("user", U) + ASSISTANT, ""),
    ),
    "own system": (
        *(OWN + TURNS + ASKS, False, im("system", "") + im("user", U) + ASSISTANT),
        "a system message of its own where there is none: an empty one",
    ),
    "no generation prompt": (
        *(TURNS, True, im("system", S) + im("user", U) + ASSISTANT),
        "no generation prompt: the assistant's turn is opened",
    ),
    "opens reasoning": (
        *(TURNS + THINKS, False, im("user", U) + ASSISTANT + "<think>\n\n</think>\n\n"),
        "a reasoning block, which is closed",
    ),
    "opens reasoning on one line": (
        *(TURNS + THINKS.replace("<think>\n", "<think>"), False),
        *(im("user", U) + ASSISTANT + "<think>\n\n</think>\n\n", "reasoning block"),
    ),
    "other marks of reasoning": (
        *(TURNS + THINKS.replace("<think>", "[THINK]"), False),
        *(im("user", U) + ASSISTANT + "[THINK]\n\n[/THINK]\n\n", "reasoning block"),
    ),
    "starts to reason": (
        *(TURNS + THINKS.replace("<think>\n", "<think>\nOkay,"), False),
        *(im("user", U) + ASSISTANT + "<think>\nOkay,\n\n</think>\n\n", "adds to every"),
    ),
    "closed reasoning": (
        TURNS + CLOSED, False, im("user", U) + ASSISTANT + "<think>\n\n</think>\n\n", "",
    ),
    "all at once": (
        *(OWN + TURNS + THINKS, False),
        im("system", "") + im("user", U) + ASSISTANT + "<think>\n\n</think>\n\n",
        "reasoning block",
    ),
    "alternates": (ALTERNATES, False, f"<s>[INST] {U} [/INST]", ""),
    "alternates, system": (
        ALTERNATES, True, f"<s>[INST] {S}\n\n{U} [/INST]", "has no system message: it starts",
    ),
    "drops the system": (
        DROPS, True, f"user: {S}\n\n{U}\nassistant: ", "no generation prompt",
    ),
    "a header of dates": (
        HEADED, True,
        "<s><|h|>system<|/h|>\n\nCutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024"
        f"\n\n{S}<|eot|><|h|>user<|/h|>\n\n{U}<|eot|><|h|>assistant<|/h|>\n\n",
        "adds to every prompt: 'Cutting Knowledge Date: December 2023 Today Date: 26 Jul 2024'",
    ),
    "a header of dates, no system": (
        HEADED, False,
        "<s><|h|>system<|/h|>\n\nCutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024"
        f"\n\n<|eot|><|h|>user<|/h|>\n\n{U}<|eot|><|h|>assistant<|/h|>\n\n",
        "adds to every prompt: 'Cutting Knowledge Date: December 2023 Today Date: 26 Jul 2024'",
    ),
    "an opening sentence": (CLASSIC, False, f" USER: {U} ASSISTANT:", "an empty one takes"),
    "an opening sentence, system": (CLASSIC, True, f"{S} USER: {U} ASSISTANT:", ""),
    "an unconditional instruction": (
        "Be brief.\n{% for m in messages %}### {{ m.role }}: {{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}### Response:{% endif %}",
        False, f"Be brief.\n### user: {U}\n### Response:", "adds to every prompt: 'Be brief.'",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("source", "system", "text", "note"), MENDED.values(), ids=MENDED)
def test_a_prompt_holds_what_is_asked_and_ends_in_the_assistants_turn(source, system, text, note):
    template = ChatTemplate(source, SPECIAL)
    assert template.chat([SYSTEM, USER] if system else [USER]) == text
    found = template.reading(system).note
    assert note in found
    assert bool(note) == bool(found)
    assert "\n" not in found


def test_the_prompt_is_what_transformers_gives_for_the_same_messages(byte_level):
    from transformers import AutoTokenizer

    folder = byte_level(**SPECIAL)
    theirs = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    for source, system, *_ in MENDED.values():
        ours = ChatTemplate(source.replace("strftime_now('%d %b %Y')", "'today'"), SPECIAL)
        reading, given = ours.reading(system), [SYSTEM, USER] if system else [USER]
        if reading.emptied:
            given = [{"role": "system", "content": ""}, USER]
        elif reading.merged:
            given = [{"role": "user", "content": f"{S}\n\n{U}"}]
        asked = [*given, {"role": "assistant", "content": "ANSWER"}] if reading.opened else given
        text = theirs.apply_chat_template(
            asked,
            chat_template=source.replace("strftime_now('%d %b %Y')", "'today'"),
            tokenize=False,
            add_generation_prompt=not reading.opened,
        )
        text = text.partition("ANSWER")[0] + reading.closing
        assert ours.chat([SYSTEM, USER] if system else [USER]) == text


REFUSED = {
    "drops the user": (
        *(TURNS.replace("in messages", "in messages if m.role == 'system'"), True),
        "drops or changes the user",
    ),
    "repeats the user": (TURNS + TURNS + ASKS, False, "repeats the user message"),
    "repeats the system": ("{{ messages[0].content }}" + TURNS + ASKS, True, "repeats the system"),
    "shouts": (TURNS.replace("m['content']", "m['content'] | upper"), False, "changes the user"),
    "escapes": (TURNS.replace("m['content']", "(m['content'] | e)"), False, "changes the user"),
    "joins lines": (
        *(TURNS.replace("m['content']", "m['content'].split() | join(' ')"), False),
        "changes the user",
    ),
    "turns round": (
        "{% for m in messages | reverse %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}",
        *(True, "writes other turns before an answer"),
    ),
    "insists on its own": (
        "{% if messages[0].role == 'system' and messages[0].content %}{{ messages[0].content }}"
        "{% else %}You are Bob.{% endif %}{% for m in messages if m.role != 'system' %}"
        "{{ '<u>' + m.content + '</u>' }}{% endfor %}{% if add_generation_prompt %}<a>{% endif %}",
        *(False, "writes 'You are Bob.', which nobody asked for: set prompts.system to a text"),
    ),
    "opens no turn": (
        "{% for m in messages if m.role == 'user' %}<u>{{ m.content }}</u>{% endfor %}",
        *(False, "opens no turn of the assistant"),
    ),
    "refuses all": ("{{ raise_exception('no') }}", False, "the chat template failed: no"),
}


@pytest.mark.parametrize(("source", "system", "words"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_mended_is_refused_in_one_line(source, system, words):
    with pytest.raises(ModelError) as caught:
        ChatTemplate(source, SPECIAL).reading(system)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_message_that_the_template_treats_in_its_own_way_is_seen():
    picky = TURNS.replace("m['content']", "m['content'].split('</x>')[-1]") + ASKS
    template = ChatTemplate(picky, SPECIAL)
    assert "hello" in template.chat([{"role": "user", "content": "hello"}])
    with pytest.raises(ModelError, match="drops or changes the user message that starts 'a</x>b'"):
        template.chat([{"role": "user", "content": "a</x>b"}])


# What is no template, or does too much: each with words of its one line.
HOSTILE = {
    "no syntax": ("{% for", "is damaged"),
    "an unknown tag": ("{% nonsense %}", "is damaged"),
    "an unknown filter": ("{{ messages | nonsense }}", "is damaged"),
    "an endless loop": (
        "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}"
        "{% endfor %}{% endfor %}{% endfor %}",
        "takes more than 1 seconds",
    ),
    "a long range": ("{% for a in range(10000000000) %}{% endfor %}", "failed"),
    "recursion": ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "calls itself without end"),
    "two-fold recursion": (
        "{% macro f(n) %}{% if n %}{{ f(n - 1) ~ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        "takes more than 1 seconds",
    ),
    "division by zero": ("{{ 1 // (messages | length - messages | length) }}", "ZeroDivisionError"),
    "a constant division by zero": ("{{ 1 / 0 }}", "ZeroDivisionError"),
    "wrong types": ("{{ messages + 3 }}", "TypeError"),
    "an attribute of nothing": ("{{ nothing.here.there }}", "undefined"),
    "an index of nothing": ("{{ messages[99].content }}", "no element 99"),
    "an include": ("{% include '/etc/passwd' %}", "includes another file"),
    "an import": ("{% import 'os' as os %}", "includes another file"),
    "an extends": ("{% extends 'base' %}", "includes another file"),
    "a way out": ("{{ messages.__class__.__mro__ }}", "unsafe"),
    "a change": ("{{ messages.append(1) }}", "unsafe"),
    "a code object": ("{{ raise_exception.__globals__ }}", "drops or changes"),
    "memory": ("{{ 'a' * 40000000000 }}", "memory"),
    "memory at run time": ("{{ messages[0].role * 40000000000 }}", "memory"),
    "memory by doubling": (
        "{% set n = namespace(s='aaaaaaaaaaaaaaaa') %}{% for i in range(60) %}"
        "{% set n.s = n.s ~ n.s %}{% endfor %}",
        "memory",
    ),
    "a padded text": ("{{ 'a' | center(40000000000) }}", "memory"),
    "a power": ("{{ (messages | length + 8) ** 9999999 ** 3 }}", "takes more than 1 seconds"),
    "deep brackets": ("{{ " + "(" * 20000 + "1" + ")" * 20000 + " }}", "template"),
    "deep blocks": ("{% if 1 %}" * 3000 + "{% endif %}" * 3000, "template"),
    "too long": ("a" * 1_000_001, "has 1000001 characters; allowed: 1000000"),
    "nothing": (" ", "drops or changes"),
    "a number": ("3", "drops or changes"),
    "NUL": ("\0", "drops or changes"),
}


@pytest.mark.parametrize(("source", "words"), HOSTILE.values(), ids=HOSTILE)
def test_a_strangers_template_is_tried_within_limits(source, words, monkeypatch):
    monkeypatch.setattr(template_check, "SECONDS", 1)
    started = time.monotonic()
    with pytest.raises(ModelError) as caught:
        check_template(source, SPECIAL, ["<|im_start|>", "<|im_end|>"])
    assert time.monotonic() - started < 10
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("name", ["plain turns", "own system", "alternates", "a header of dates"])
def test_a_sound_template_passes_the_trial(name):
    check_template(MENDED[name][0], SPECIAL, ["<|im_start|>", "<|im_end|>"])


# What only prompts of ours show: each with words of its line.
PICKY = {
    "tables": ("m['content'].replace('Your option', '')", "in prompts of the kind table/decision"),
    "notes": ("m['content'].split('notes')[0]", "in prompts of the kind neutral/decision"),
    "beliefs": ("m['content'].replace('Which', 'What')", "of the kind neutral/belief"),
    "an answer's start": ("m['content'].replace('Final', '')", "of the kind neutral/cot"),
    "memory at a word": (
        "m['content'] ~ ('' if 'trader' not in m['content'] else 'a' * 40000000000)", "memory",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("content", "words"), PICKY.values(), ids=PICKY)
def test_a_template_is_tried_on_every_wording_of_ours(content, words):
    source = TURNS.replace("m['content']", f"({content})") + ASKS
    with pytest.raises(ModelError) as caught:
        check_template(source, SPECIAL, [], sample_messages())
    assert words in str(caught.value)


def test_a_sound_template_renders_every_wording_of_ours():
    assert len(sample_messages()) == 12
    check_template(TURNS + ASKS, SPECIAL, [], sample_messages())


FILES = {
    "not UTF-8": ("chat_template.jinja", b"\xff\xfe{{ x }}", "cannot be read as UTF-8 text"),
    "JSON that is none": ("chat_template.json", b"{", "cannot be read as JSON"),
    "JSON that is nested too deep": ("chat_template.json", b"[" * 100_000, "nested too deep"),
    "a list in JSON": ("chat_template.json", b"[1]", "a JSON object is needed"),
    "a number in JSON": ("chat_template.json", b'{"chat_template": 3}', "a text is needed"),
}


@pytest.mark.parametrize(("file", "content", "words"), FILES.values(), ids=FILES)
def test_template_files_that_cannot_be_read(byte_level, file, content, words):
    folder = byte_level()
    (folder / file).write_bytes(content)
    with pytest.raises(ModelError, match=words):
        ChatTokenizer(folder).check_template()
    assert ChatTokenizer(folder, plain=True).chat([USER]) == f"{U}\n\n"


def test_a_template_in_chat_template_json_alone_is_used(byte_level):
    folder = byte_level()
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": TURNS}))
    tokenizer = ChatTokenizer(folder)
    assert tokenizer.has_template
    assert tokenizer.chat([USER]) == im("user", U) + ASSISTANT
    assert "no generation prompt" in tokenizer.template_note(system=False)


def test_stop_tokens_come_from_the_configuration_where_there_is_no_other(byte_level):
    folder = byte_level()
    eot = ChatTokenizer(folder).encode("<|eot|>")[-1]
    (folder / "config.json").write_text('{"eos_token_id": [5, 6]}')
    assert ChatTokenizer(folder).stop_ids == {5, 6, eot}
    (folder / "generation_config.json").write_text('{"eos_token_id": 7}')
    assert ChatTokenizer(folder).stop_ids == {7, eot}
