"""Code closures, hashes and slices."""

import ast
import json
import os
from pathlib import Path

import pytest

from workflow.fingerprint import Code, Entries, digest
from workflow.groups import play_groups
from workflow.provenance import Provenance, pick
from workflow.records import Digests


@pytest.fixture
def source(tmp_path):
    """A small package: a -> b (in a function) -> sub.c; d only for types; planted aside."""
    files = {
        "nashlens/__init__.py": '"""Top."""\n',
        "nashlens/a.py": "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from nashlens.d import D\n"
        "def f():\n    from nashlens import b\n    return b.g()\n",
        "nashlens/b.py": "from .sub import c\nimport os\ndef g():\n    return c.X\n",
        "nashlens/d.py": "D = 1\n",
        "nashlens/logs.py": "from nashlens import d\n",
        "nashlens/sub/__init__.py": "",
        "nashlens/sub/c.py": "import nashlens.logs\nfrom nashlens.planted import p\nX = 1\n",
        "nashlens/planted/__init__.py": "from nashlens.planted import p\n",
        "nashlens/planted/p.py": "P = 1\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_a_closure_follows_all_imports_and_parents(source):
    found = Code(source).closure(["nashlens.a"])
    # Without the package itself, which holds its version.
    assert sorted(found) == ["nashlens.a", "nashlens.b", "nashlens.sub", "nashlens.sub.c"]
    assert "nashlens.planted.p" in Code(source).closure(["nashlens.planted"])


def test_only_what_code_does_counts(source):
    path = source / "nashlens" / "b.py"

    def now():
        return Code(source).hash(None, ["nashlens.a"])

    before, text = now(), path.read_text()
    same = '"""Words."""\n# A remark.\n' + text.replace("def g():", 'def g( ) :\n    "More."\n')
    path.write_text(same)
    assert now() == before
    path.write_text(text.replace("c.X", "c.X + 1"))
    assert now() != before
    path.write_text(text)
    assert now() == before
    (source / "nashlens" / "d.py").write_text("D = 2\n")
    assert now() == before


TABLE = """
SHARED = 1
def low(x):
    return x - SHARED
def high(x):
    return x + 1
def higher(x):
    return high(x) + 1
KINDS: dict[str, object] = {"low": low, "high": high, "higher": higher, "text": "a" + "b"}
"""


def test_of_alternatives_only_the_named_ones_count(source):
    path = source / "nashlens" / "b.py"

    def now(*names):
        entries = {"nashlens.b": Entries("KINDS", frozenset(names))}
        return Code(source).hash(None, ["nashlens.b"], entries)

    def changes(old, new, *names):
        path.write_text(TABLE)
        before = now(*names)
        path.write_text(TABLE.replace(old, new))
        return now(*names) != before

    assert changes("x - SHARED", "x - 2", "low")
    assert not changes("x - SHARED", "x - 2", "high", "text")
    assert not changes("x - SHARED", "x - 2")
    assert changes("SHARED = 1", "SHARED = 2", "text")
    assert changes('"a"', '"c"', "text")
    assert not changes('"a"', '"c"', "low")
    # One alternative is made of another.
    assert changes("x + 1", "x + 3", "higher")
    assert not changes("x + 1", "x + 3", "low")
    # A new one, and another order.
    assert not changes("object] = {", 'object] = {"more": 1, ', "low", "high")
    path.write_text("OTHER = {}")
    with pytest.raises(ValueError, match="no mapping of the name KINDS"):
        now("low")


def test_a_module_that_is_gone_is_named(source):
    with pytest.raises(ModuleNotFoundError, match=r"nashlens\.gone"):
        Code(source).hash(None, ["nashlens.gone"])


def test_what_files_do_is_remembered_by_their_bytes(source, tmp_path, monkeypatch):
    memory, path = tmp_path / "memory.json", source / "nashlens" / "b.py"
    text = path.read_text()

    def now(remembered=False):
        with monkeypatch.context() as patch:
            if remembered:
                patch.setattr(ast, "parse", lambda *args, **kwargs: pytest.fail("read again"))
            code = Code(source, memory)
            found = code.hash(None, ["nashlens.a"])
            code.save()
        assert found == Code(source).hash(None, ["nashlens.a"])
        return found, memory.stat()

    before, state = now()
    # Also where their times lie, and nothing is written that is there.
    os.utime(path, (0, 0))
    assert now(remembered=True) == (before, state)
    path.write_text(text.replace("c.X", "c.X + 1"))
    os.utime(path, (0, 0))
    assert now()[0] != before
    # Only what files are now is kept.
    size = len(json.loads(memory.read_text())["value"])
    path.write_text(text)
    assert now()[0] == before
    assert len(json.loads(memory.read_text())["value"]) == size
    # What is damaged, or by another way of reading, is not believed.
    content = bytearray(memory.read_bytes())
    content[len(content) // 2] ^= 1
    memory.write_bytes(content)
    assert now()[0] == before
    monkeypatch.setattr("workflow.fingerprint._read_by", lambda: "another")
    with pytest.raises(pytest.fail.Exception):
        now(remembered=True)
    # Nor does it have to be there.
    code = Code(source, tmp_path / "gone" / "memory.json")
    assert code.hash(None, ["nashlens.a"]) == before
    code.save()


def test_an_order_of_keys_counts_and_nan_is_refused():
    assert digest({"a": 1, "b": 2}) != digest({"b": 2, "a": 1})
    with pytest.raises(ValueError, match="JSON"):
        digest(float("nan"))


def test_pick_takes_names_with_dots():
    config = {"models": {"qwen2.5": {"dtype": "auto", "gpus": 1}, "b": {"dtype": "x"}}, "n": 1}
    assert pick(config, ["models.qwen2.5.dtype", "n", "models.c.dtype", "gone"]) == {
        "models": {"qwen2.5": {"dtype": "auto"}},
        "n": 1,
    }


def test_play_groups():
    agents = {
        "x": {"model": "m", "mode": "direct"},
        "tft": {"model": None, "mode": "direct"},
        "y": {"model": "n", "mode": "direct"},
    }
    every = {"self_play": True, "cross_play": True, "cross_modes": True, "scripted": True}
    assert play_groups(agents, every) == {
        "x": ["x", "tft"],
        "y": ["y", "tft"],
        "x--y": ["x", "y"],
    }
    assert play_groups(agents, every | {"self_play": False, "scripted": False}) == {
        "x--y": ["x", "y"]
    }
    agents["z"] = {"model": "m", "mode": "cot"}
    apart = every | {"self_play": False, "scripted": False, "cross_modes": False}
    assert list(play_groups(agents, apart)) == ["x--y"]
    assert list(play_groups(agents, apart | {"cross_modes": True})) == ["x--y", "x--z", "y--z"]


def test_steered_agents_meet_unsteered_ones_only():
    agents = {
        "x": {"model": "m", "mode": "direct", "intervention": None},
        "s_0": {"model": "m", "mode": "direct", "intervention": {"player": "s"}},
        "s_1": {"model": "m", "mode": "direct", "intervention": {"player": "s"}},
        "y": {"model": "n", "mode": "direct", "intervention": None},
        "thinks": {"model": "m", "mode": "cot", "intervention": None},
        "t": {"model": "n", "mode": "direct", "intervention": {"player": "t"}},
        "tft": {"model": None, "mode": "direct", "intervention": None},
    }
    every = {"self_play": False, "cross_play": True, "cross_modes": False, "scripted": False}
    steered = {
        "s": ["s_0", "s_1", "x"],
        "s--y": ["s_0", "s_1", "y"],
        "t": ["t", "y"],
        "t--x": ["t", "x"],
    }
    assert play_groups(agents, every) == {"x--y": ["x", "y"], **steered}
    # Also where other agents of different modes meet.
    groups = play_groups(agents, every | {"cross_modes": True, "scripted": True})
    assert groups["s"] == ["s_0", "s_1", "tft", "x"]
    assert [name for name in groups if name.startswith("s--")] == ["s--y"]


def test_checks_of_players_depend_on_their_own_models_steered_agents():
    agents = {
        "x": {"model": "m", "intervention": None},
        "s": {"model": "m", "intervention": {"value": 1.0}},
        "other": {"model": "n", "intervention": {"value": 1.0}},
        "tft": {"model": None, "intervention": None},
    }
    config = {"agents": agents, "games": {}}
    provenance = Provenance(config, Path(), ["m", "n"], {}, list, Digests(Path("none")))
    assert provenance.slice(["agents.{steered}"], {"model": "m"}) == {"agents": {"s": agents["s"]}}


def test_the_science_imports_no_workflow():
    root = Path(__file__).resolve().parents[2] / "src"
    for path in root.rglob("*.py"):
        assert "snakemake" not in path.read_text().replace("snakemake --", ""), path
