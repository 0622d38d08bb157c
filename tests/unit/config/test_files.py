"""Config files that are no config: each has one line that names the file, and quickly."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
import yaml

from nashlens.config.files import read_config_file, text_problem
from nashlens.errors import ConfigError, printable

from .conftest import ROOT


def bomb(opening: str, closing: str) -> str:
    """Aliases, each of which repeats the one before it ten times."""
    lines = [f"a0: &a0 {opening}1{closing}"]
    for i in range(1, 40):
        repeated = ", ".join([f"*a{i - 1}"] * 10)
        lines.append(f"a{i}: &a{i} [{repeated}]")
    return "models:\n" + "".join(f"  {line}\n" for line in lines)


def doubled(levels: int) -> str:
    lines = ["b0: &b0 {x: 1, y: 2}"]
    lines += [f"b{i}: &b{i} {{x: *b{i - 1}, y: *b{i - 1}}}" for i in range(1, levels)]
    return "\n".join(lines) + "\n"


# What a file holds, and what its line says after its name.
BAD = {
    "a key twice": ("a: 1\nb: 2\na: 3\n", "key 'a' stands twice, in lines 1 and 3; leave one out"),
    "a key twice, nested": (
        "a:\n  b: 1\n  c: 2\n  b: 3\n",
        "key 'b' stands twice, in lines 2 and 4; leave one out",
    ),
    "a key twice, in a list": ("a:\n- b: 1\n  b: 1\n", "key 'b' stands twice, in lines 2 and 3"),
    "a key twice, in braces": ("a: {b: 1, b: 2}", "key 'b' stands twice, in lines 1 and 1"),
    "a key twice, in quotes": ("a: 1\n'a': 2\n", "key 'a' stands twice, in lines 1 and 2"),
    "a section twice": (
        "models:\n  a: 1\nmodels:\n  b: 2\n", "key 'models' stands twice, in lines 1 and 3"
    ),
    "a key twice in JSON": ('{"a": 1, "a": 2}', "key 'a' stands twice in one map"),
    "aliases of lists": (bomb("[", "]"), "more than 300000 values, aliases (*) expanded"),
    "aliases of texts": (bomb("'", "'"), "more than 300000 values, aliases (*) expanded"),
    "aliases of maps": (doubled(60), "more than 300000 values, aliases (*) expanded"),
    "many values": ("a: [" + "1, " * 300_001 + "]", "more than 300000 values"),
    "a map of itself": ("a: &x\n  b: *x\n", "line 2: *x contains itself"),
    "a list of itself": ("a: &x [*x]\n", "line 1: *x contains itself"),
    "a key of itself": ("a: &x\n  *x : 1\n", "*x contains itself"),
    "no such anchor": ("a: *b\n", "line 1: *b is not defined before"),
    "3,000 lists": ("a: " + "[" * 3000 + "]" * 3000, "line 1: is nested deeper than 30 levels"),
    "100,000 lists": ("a: " + "[" * 100_000, "line 1: is nested deeper than 30 levels"),
    "3,000 maps": ("{b: " * 3000 + "1" + "}" * 3000, "line 1: is nested deeper than 30 levels"),
    "3,000 steps": (
        "\n".join(f"{' ' * i}a:" for i in range(300)), "line 31: is nested deeper than 30 levels"
    ),
    "3,000 maps in JSON": ('{"a": ' * 3000 + "1" + "}" * 3000, "is nested deeper than 30 levels"),
    "a huge number": ("a: " + "9" * 5000, "line 1: a whole number of 5000 digits; allowed: 40"),
    "a huge negative one": ("a: -" + "9" * 50, "line 1: a whole number of 51 digits"),
    "a huge hex number": ("a: 0x" + "f" * 5000, "line 1: a whole number of 5002 digits"),
    "a huge number of 60s": ("a: 1" + ":59" * 2000, "line 1: a whole number of 6001 digits"),
    "a huge number in JSON": ('{"a": ' + "9" * 5000 + "}", "a whole number of 5000 digits"),
    "an octal number": ("a: 010", "line 1: YAML reads 010 as 8; write that, or quotes around it"),
    "an octal number below 0": ("a: 1\nb: [-0017]", "line 2: YAML reads -0017 as -15; write"),
    "a number in sixties": ("a: 1:30", "line 1: YAML reads 1:30 as 90; write that, or quotes"),
    "a fraction in sixties": ("a: 1:30.5", "line 1: YAML reads 1:30.5 as 90.5; write that"),
    "a time": ("{a: {b: 12:30:45}}", "line 1: YAML reads 12:30:45 as 45045; write that"),
    "a merge of no map": ("a:\n  <<: 3", "line 2: expected a mapping or list of mappings"),
    "a C1 control character": ("a: \x9b31m", "cannot be read as YAML (unacceptable character"),
    "another version": ("%YAML 3.0\n---\na: 1", "line 1: found incompatible YAML document"),
    "TOML": ("[a]\nb = 1", "line 2: did not find expected <document start>"),
    "a JSON comment": ('{"a": 1} // b', "line 1: did not find expected <document start>"),
    "half a character": ('a: "\\ud800"', "line 1: found invalid Unicode character escape code"),
    "a folder of Windows": ('a: "C:\\Users"', "line 1: did not find expected hexdecimal number"),
    "a Python object": (
        "a: !!python/object/apply:os.system ['false']\n",
        "line 1: tag !!python/object/apply:os.system is not allowed",
    ),
    "a Python name": ("a: !!python/name:os.system ''\n", "tag !!python/name:os.system is not"),
    "a Python tuple": ("a: !!python/tuple [1]\n", "tag !!python/tuple is not allowed"),
    "bytes": ("a: !!binary aGVsbG8=\n", "tag !!binary is not allowed"),
    "a set": ("a: !!set {b}\n", "tag !!set is not allowed"),
    "a tag of one's own": ("a: !mine 3\n", "tag !mine is not allowed"),
    "a wrong number": ("a: !!int b\n", "cannot be read as YAML"),
    "a date that is none": ("a: 2024-13-45\n", "cannot be read as YAML"),
    "two documents": ("a: 1\n---\nb: 2\n", "line 2: a second document starts (---); give one"),
    "a list": ("- a\n- b\n", "holds a list; keys with values are needed (experiment:, models:"),
    "a list in JSON": ("[1, 2]", "holds a list; keys with values are needed"),
    "a text": ("models\n", "holds a text; keys with values are needed"),
    "a number": ("3\n", "holds a single value; keys with values are needed"),
    "tabs": ("a:\n\tb: 1\n", "line 2: found character that cannot start any token: indent with"),
    "an open bracket": ("a: [1, 2\n", "did not find expected ',' or ']'"),
    "an open quote": ("a: 'b\n", "found unexpected end of stream"),
    "an open brace": ("{a: 1\n", "did not find expected ',' or '}'"),
    "no colon": ("a: 1\nb\nc: 2\n", "line 3: could not find expected ':'"),
    "two values": ("a: b: c\n", "line 1: mapping values are not allowed in this context"),
    "a list as a key": ("? [a]\n: 1\n", "line 1: found unhashable key"),
    "a wrong indent": ("a:\n   b: 1\n  c: 2\n", "line 3: did not find expected"),
    "an escape": ("a: \x1b[31mred\n", "line 1: control character '\\x1b' is not allowed"),
    "NUL": ("a: b\nc: \0\n", "line 2: control character '\\x00' is not allowed"),
    "a percent sign": ("%a: 1\n", "line 1: "),
    "an at sign": ("a: @b\n", "line 1: found character that cannot start any token"),
    "2 MB": ("a: " + "b" * 2_000_000, "has 2000003 bytes; allowed: at most 2000000"),
}  # fmt: skip
BYTES = {
    "UTF-16": ("a: 1\n".encode("utf-16"), "is UTF-16 or UTF-32 text; save it as UTF-8"),
    "UTF-16, no mark": ("a: 1\n".encode("utf-16-le"), "is UTF-16 or UTF-32 text"),
    "UTF-16, the other way": ("a: 1\n".encode("utf-16-be"), "is UTF-16 or UTF-32 text"),
    "UTF-32": ("a: 1\n".encode("utf-32"), "is UTF-16 or UTF-32 text"),
    "Latin-1": ("a: 1\nb: é\n".encode("latin-1"), "line 2: byte 0xe9 is not UTF-8; save it as"),
    "no text at all": (bytes(range(128, 256)), "line 1: byte 0x80 is not UTF-8"),
    "a picture": (b"\x89PNG\r\n\x1a\n\0\0", "line 1: byte 0x89 is not UTF-8"),
    "an archive": (b"PK\x03\x04\x14\0", "control character '\\x03' is not allowed"),
}
GOOD = {
    "nothing": ("", {}),
    "comments": ("# a\n\n# b\n", {}),
    "null": ("null\n", {}),
    "an open document": ("---\na: 1\n...\n", {"a": 1}),
    "a mark of UTF-8": ("\ufeffa: 1\n", {"a": 1}),
    "Windows": ("a: 1\r\nb:\r\n  c: 2\r\n", {"a": 1, "b": {"c": 2}}),
    "JSON": ('{"a": [1, 2],\n\t"b": "é"}', {"a": [1, 2], "b": "é"}),
    "braces": ("{a: 1}", {"a": 1}),
    "an anchor": ("a: &x {b: 1}\nc: *x\n", {"a": {"b": 1}, "c": {"b": 1}}),
    "a merge": ("a: &x {b: 1}\nc:\n  <<: *x\n  d: 2\n", {"a": {"b": 1}, "c": {"b": 1, "d": 2}}),
    "a long text": ("a: '" + "9" * 100 + "'\n", {"a": "9" * 100}),
    "a plain tag": ("a: !!str 3\n", {"a": "3"}),
    "Chinese": ("a: 合作\n", {"a": "合作"}),
    "the same key in two maps": ("a: {x: 1}\nb: {x: 2}\n", {"a": {"x": 1}, "b": {"x": 2}}),
    "a key as a value": ("a: b\nb: a\n", {"a": "b", "b": "a"}),
    "zeros": ("a: [0, 00, 0.5, '010', 1_0]\n", {"a": [0, 0, 0.5, "010", 10]}),
    "colons in quotes": ("a: '1:30'\n", {"a": "1:30"}),
    "colons in a text": ("a: at 1:30\n", {"a": "at 1:30"}),
    "old ends of lines": ("a:\r  b: 1\r", {"a": {"b": 1}}),
    "a trailing comma": ('{"a": 1,}', {"a": 1}),
    "a version": ("%YAML 1.1\n---\na: 1\n", {"a": 1}),
    "a merge that is overruled": (
        "a: &x {b: 1}\nc: {<<: *x, b: 2}\n",
        {"a": {"b": 1}, "c": {"b": 2}},
    ),
}


def refused(path: Path) -> str:
    started = time.monotonic()
    with pytest.raises(ConfigError) as caught:
        read_config_file(path)
    assert time.monotonic() - started < 5
    (line,) = caught.value.problems
    assert line.startswith(f"{path}: ")
    assert "\n" not in line
    assert len(line) < 250 + len(str(path))
    return line.removeprefix(f"{path}: ")


@pytest.mark.parametrize(("text", "words"), BAD.values(), ids=BAD)
def test_a_text_that_is_no_config(tmp_path: Path, text: str, words: str):
    (tmp_path / "c.yaml").write_text(text)
    assert words in refused(tmp_path / "c.yaml")


@pytest.mark.parametrize(("raw", "words"), BYTES.values(), ids=BYTES)
def test_bytes_that_are_no_text(tmp_path: Path, raw: bytes, words: str):
    (tmp_path / "c.yaml").write_bytes(raw)
    assert words in refused(tmp_path / "c.yaml")


@pytest.mark.parametrize(("text", "found"), GOOD.values(), ids=GOOD)
def test_what_is_a_config(tmp_path: Path, text: str, found: object):
    (tmp_path / "c.yaml").write_text(text, newline="")
    assert read_config_file(tmp_path / "c.yaml") == found


def test_files_that_cannot_be_opened(tmp_path: Path):
    assert refused(tmp_path / "none.yaml") == "cannot be read (No such file or directory)"
    assert refused(tmp_path) == "cannot be read (Is a directory)"
    (tmp_path / "loop.yaml").symlink_to(tmp_path / "loop.yaml")
    assert "Too many levels of symbolic links" in refused(tmp_path / "loop.yaml")
    assert "File name too long" in refused(tmp_path / ("x" * 300))


def test_pipes_and_devices_are_not_read(tmp_path: Path):
    """One would wait for ever, another has no end, and Snakemake finds a pipe empty."""
    os.mkfifo(tmp_path / "pipe.yaml")
    said = "is a pipe or a device; save it as a file, as it is read more than once"
    assert refused(tmp_path / "pipe.yaml") == said
    assert refused(Path("/dev/zero")) == said
    read, write = os.pipe()
    assert refused(Path(f"/dev/fd/{read}")) == said
    os.close(read)
    os.close(write)
    assert read_config_file("/dev/null") == {}


def test_our_own_files_are_read_as_ever():
    for path in (ROOT / "config.yaml", *(ROOT / "experiments").glob("*.yaml")):
        assert read_config_file(path) == yaml.safe_load(path.read_text())


@pytest.mark.parametrize("name", [n for n in BAD if BAD[n][0][:1] == "{" or ": {" in BAD[n][0][:6]])
def test_values_on_the_command_line_are_looked_at_too(name: str):
    if "JSON" not in name and "open" not in name:
        assert text_problem(BAD[name][0])
    assert text_problem(json.dumps({"a": 1})) is None


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("a\nb\tc", "a b c"),
        ("\x07\x9b31m", "\\x07\\x9b31m"),
        ("right\u202eleft", "right\\u202eleft"),
        ("合作 é", "合作 é"),
    ],
)
def test_what_is_printed_obeys_no_escape(text: str, shown: str):
    assert printable(text) == shown
