"""Each message that the page on troubleshooting quotes is one that the code can print."""

import ast
import errno
import os
import re
from functools import cache
from itertools import pairwise

import pytest
import yaml

from nashlens.config.preflight import preflight
from nashlens.config.validate import check, validate
from tests.configs import merge
from tests.workflow.pages import ROOT
from workflow.intake import argument_problems, file_problems

PAGE = ROOT / "docs/howto/troubleshooting.md"
OTHERS = {"CUDA out of memory": "torch, on a GPU"}
"""Messages that others print."""
PREFIX = re.compile(r"nashlens: (?:config|note|error):")
EXAMPLE = re.compile(
    r"""\.\.              # left out
    | '[^']*'             # a value
    | \b[a-z]\w*(?:\.\w+)+  # a key
    | \b[A-Z][A-Z_]+\b|\bcuda\b|\b\d+\b
    """,
    re.VERBOSE,
)
"""What a message says of the case at hand."""
LEAST = 2
"""Words that make a message known."""


def quoted():
    """Return the messages: terms of the page that are nothing but quotes."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    found = []
    for term, below in pairwise(lines):
        if below.startswith(": ") and re.fullmatch(r"(`+ ?.*? ?`+(, | and |$))+", term):
            found += [text for _, text in re.findall(r"(`+) ?(.*?) ?\1(?=,|$| and )", term)]
    return found


@cache
def said():
    """Return all texts of the code that are no docstrings."""
    found = {os.strerror(errno.ENOSPC)}
    for folder in ("src", "workflow", "scripts"):
        for path in (ROOT / folder).rglob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            nodes = [*ast.walk(tree)]
            docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
            found |= {
                node.value
                for node in nodes
                if isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and id(node) not in docstrings
            }
    return found


@cache
def is_said(words):
    """Tell whether words stand in a row in some text of the code."""
    whole = re.compile(rf"(?<!\w){re.escape(words)}(?!\w)")
    return any(words in text and whole.search(text) for text in said())


def known(message):
    """Tell whether the code can print a message: its words between examples are in its texts."""
    prefix = PREFIX.match(message)
    if prefix and not any(prefix[0] in text or text == "nashlens: " for text in said()):
        return False
    rows = EXAMPLE.split(PREFIX.sub("", message))
    rows = [part.strip() for row in rows for part in re.split("[:;(),]", row)]
    rows = [row for row in rows if re.search(r"\w{2}", row)]
    words = sum(len(row.split()) for row in rows)
    return all(map(is_said, rows)) and (bool(prefix) or words >= LEAST)


def test_the_page_quotes_messages():
    assert len(quoted()) > 30


@pytest.mark.parametrize("message", sorted({*quoted()} - {*OTHERS}))
def test_a_quoted_message_can_be_printed(message):
    assert known(message)


@pytest.mark.parametrize(
    "message",
    [
        "the two labels must differ in more than colour",
        "matches.round: unknown word; did you mean 'rounds'?",
        "nashlens: remark: ..",
        "it was cancelled twice",
    ],
)
def test_a_message_that_nothing_prints_is_found_out(message):
    assert not known(message)


def test_messages_of_others_are_quoted():
    assert {*OTHERS} <= {*quoted()}


def pattern(message):
    """Return what matches a message as it is printed: all that is left out may be anything."""
    parts = re.split(r"(\.\.|\bNAME\b|\bFILE\b)", PREFIX.sub("", message))
    return "".join(".*" if k % 2 else re.escape(part) for k, part in enumerate(parts))


def refused(*given):
    return argument_problems(["-n", *given])


def config_with(section):
    return merge(yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8")), section)


def wrong(section):
    return check(config_with(section))[1]


def before_a_run(**model):
    return preflight(validate(config_with({"models": {"smollm2": model}})), {})


def doubled(folder):
    file = folder / "mine.yaml"
    file.write_text("\n\nmodels: {}\n" + "\n" * 36 + "models: {}\n", encoding="utf-8")
    return file_problems([str(file)])


RAISED = {
    "matches.round: unknown key; did you mean 'rounds'?": lambda _: wrong(
        {"matches": {"round": 3}}
    ),
    "FILE: key 'models' stands twice, in lines 3 and 40; leave one out": doubled,
    "found 3; allowed: ..": lambda _: wrong({"activations": {"dtype": 3}}),
    "the two labels must differ in more than case": lambda _: wrong(
        {"prompts": {"label_sets": {"mine": ["j", "J"]}}}
    ),
    "--config a.b=1: keys are not joined by dots; write --config 'a={b: 1}'": lambda _: refused(
        "--config", "a.b=1"
    ),
    "$ and ` are run by a shell on the way to a cluster's jobs": lambda _: refused(
        "--config", "models=$HOME"
    ),
    "models.NAME.source: found 'path:..'; no directory '..'": lambda _: before_a_run(
        source="path:gone"
    ),
    "models.NAME.gpus: found 0; device cuda needs one: set it to 1 or more": lambda _: preflight(
        validate(config_with({"models": {"smollm2": {"device": "cuda"}}})), {}, remote=True
    ),
    "models.NAME.device: found 'cuda'; there is no GPU here; allowed: auto, cpu": lambda _: (
        before_a_run(device="cuda")
    ),
}
"""Messages that a line raises."""


@pytest.mark.parametrize("message", RAISED)
def test_a_quoted_message_is_raised_word_for_word(message, tmp_path):
    assert message in quoted()
    said_now = [str(line) for line in RAISED[message](tmp_path)]
    assert any(re.search(pattern(message), line) for line in said_now), said_now
