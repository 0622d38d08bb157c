"""What an error advises works: each one's own advice is followed, to the end."""

import ast
import json
import re
import shutil
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

import nashlens
from nashlens.activations.plan import join_manifest
from nashlens.activations.store import ActivationStore
from nashlens.errors import AGAIN, NashlensError
from nashlens.files import read_json
from nashlens.lens.tuned_file import read_tuned_lens
from nashlens.models.intact import check_files
from nashlens.models.manifest import CONVERT_AGAIN, read_manifest
from nashlens.models.tokenizer import ChatTokenizer
from nashlens.tables import read_table
from tests.conftest import ROOT
from tests.unit.activations.test_damage import flip
from tests.workflow.test_damage import numbers
from tests.workflow.workspace import Workspace
from workflow.records import check_inputs, record_file

pytestmark = pytest.mark.workflow

TINY, MODELS = Path("results/tiny"), Path("results/models")
LLAMA, QWEN = TINY / "activations/tiny_llama", TINY / "activations/tiny_qwen"
CONFIG = TINY / "config.json"


def cut(path):
    path.write_bytes(path.read_bytes()[:40])


def cut_without_record(path):
    cut(path)
    record_file(path).unlink()


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def parts_of(folder):
    plan = read_json(folder / "plan.json")
    parts = [read_json(path) for path in sorted(folder.glob("part-*.json"))]
    return join_manifest(plan, parts, model="m", dtype="float32", fingerprint="f")


def known(folder):
    ids = read_table(TINY / f"prompts/{folder.name}.parquet", ["prompt_id"])["prompt_id"].tolist()
    ActivationStore(folder).layer(1, ids)


@contextmanager
def read_only(monkeypatch):
    """Let no file be renamed or deleted."""

    def refuse(*_, **__):
        raise PermissionError("read-only")

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", refuse)
        patch.setattr(Path, "unlink", refuse)
        yield


CASES = {
    "prompts left out of a manifest": (
        LLAMA / "manifest.json",
        lambda path: edit(path, lambda manifest: manifest["shards"].pop()),
        lambda path: known(path.parent),
    ),
    "a bit of a shard": (
        LLAMA / "shard-00000.npy",
        flip,
        lambda path: ActivationStore(path.parent)[1],
    ),
    "a shard that a reader may not move": (
        QWEN / "shard-00001.npy",
        cut,
        lambda path: nashlens.open(TINY).activations("tiny_qwen")[1],
    ),
    "a shard that no part has made": (
        QWEN / "plan.json",
        lambda path: edit(path, lambda plan: plan["new"].append({"file": "shard-09999.npy"})),
        lambda path: parts_of(path.parent),
    ),
    "a table cut short": (TINY / "lens_summary/tiny_llama.parquet", cut, read_table),
    "a table deleted": (TINY / "findings.parquet", Path.unlink, read_table),
    "JSON cut short": (TINY / "tuned_lens/tiny_qwen.json", cut, read_json),
    "JSON deleted": (TINY / "tuned_lens/tiny_llama.json", Path.unlink, read_json),
    "translators cut short": (
        TINY / "tuned_lens/tiny_llama.safetensors",
        cut,
        read_tuned_lens,
    ),
    "a job's input": (
        TINY / "directions/tiny_llama.npz",
        flip,
        lambda path: check_inputs([str(path)], str(path)),
    ),
    "a table for people": (
        TINY / "heads_summary/tiny_llama.parquet",
        Path.unlink,
        lambda path: nashlens.open(TINY)["heads_summary"],
    ),
    "a table of another config": (
        CONFIG,
        lambda path: edit(path, lambda config: config["probes"].update(C=[0.5])),
        lambda path: nashlens.open(TINY)["probes"],
    ),
    "weights": (
        MODELS / "tiny_llama/model.safetensors",
        flip,
        lambda path: check_files(path.parent),
    ),
    "a model's manifest": (
        MODELS / "tiny_qwen/manifest.json",
        cut,
        lambda path: read_manifest(path.parent),
    ),
    "a tokenizer": (
        MODELS / "tiny_qwen/tokenizer.json",
        cut,
        lambda path: ChatTokenizer(path.parent),
    ),
}
"""File -> what happens to it, and who asks for it."""
LOCKED = {
    "a manifest that cannot be moved": (
        LLAMA / "untrained/manifest.json",
        cut,
        lambda path: ActivationStore(path.parent),
    ),
    "a model's list of shards that a reader may not move": (
        QWEN / "manifest.json",
        cut_without_record,
        lambda path: nashlens.open(TINY).activations("tiny_qwen"),
    ),
    "a model's manifest that cannot be deleted": (
        MODELS / "tiny_llama/manifest.json",
        cut,
        lambda path: read_manifest(path.parent),
    ),
    "weights whose manifest cannot be deleted": (
        MODELS / "tiny_qwen/model.safetensors",
        flip,
        lambda path: check_files(path.parent),
    ),
}
"""The same, where who asks can change no file."""
ELSEWHERE = (
    # `test_reruns` has the edit, and what then runs.
    "add .* activations.positions",
    # Another job is at it (`test_job`).
    "let the other end",
    # No results yet: the first command of all.
    "all figures` with this experiment's config first",
    # A file of another version: its code is another one, so it is made anew (`test_reruns`).
    "which fits it anew",
)


def follow(message):
    """Do what an error says; return the targets that it names."""
    if deletes := re.search(r"delete (.*?)(?:,? and give|: `|, `)", message):
        path = Path(message.split(": ")[0])
        folder = path if path.is_dir() else path.parent
        words = deletes[1].replace("the .json of the same name", path.with_suffix(".json").name)
        words = re.sub(r"\bit\b", path.name, words)
        names = re.findall(r"[\w/.-]+\.\w+", words)
        assert names, message
        for name in names:
            (Path(name) if "/" in name else folder / name).unlink(missing_ok=True)
    return re.findall(r"`snakemake --cores all (\w+)`", message)


def advice_of_the_code():
    """Yield the end of each text of the code that advises, as a pattern."""
    start = re.compile(rf"delete (?!d)|{AGAIN}|`snakemake --cores all")
    known = {"AGAIN": AGAIN, "CONVERT_AGAIN": CONVERT_AGAIN, "again": "`snakemake --cores all \0"}
    for path in [*ROOT.glob("src/nashlens/**/*.py"), *ROOT.glob("workflow/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                pieces = [
                    piece.value
                    if isinstance(piece, ast.Constant)
                    else known.get(ast.unparse(piece.value), "\0")
                    for piece in node.values
                ]
                text = "".join(map(str, pieces))
                if found := start.search(text):
                    yield ".*".join(map(re.escape, text[found.start() :].split("\0")))


@pytest.fixture(scope="module")
def copied(built, tmp_path_factory):
    folder = tmp_path_factory.mktemp("advice") / "nashlens"
    shutil.copytree(built.folder, folder, symlinks=True)
    return Workspace(folder)


def test_each_errors_advice_is_followed_to_the_end(copied, monkeypatch):
    monkeypatch.chdir(copied.folder)
    before, messages = numbers(copied.folder), {}
    for cases, locked in ((CASES, False), (LOCKED, True)):
        asked = {}
        for name, (path, harm, _) in cases.items():
            harm(path)
            assert path.exists() != (harm is Path.unlink), name
        for name, (path, _, ask) in cases.items():
            unwritable = read_only(monkeypatch) if locked else nullcontext()
            with unwritable, pytest.raises(NashlensError) as told:
                ask(path)
            asked[name] = str(told.value)
            assert ("delete " in asked[name]) or not locked
        targets = {name: follow(message) for name, message in asked.items()}
        named = sorted({target for some in targets.values() for target in some})
        for command in filter(None, (named, ["figures"])):
            done = copied.snakemake("--cores", "2", *command)
            assert done.returncode == 0, (command, done.stderr[-3000:])
            for name, (path, _, ask) in cases.items():
                if command == ["figures"] or targets[name]:
                    ask(path)
        messages |= asked
    after = numbers(copied.folder)
    assert [path for path in before if after.get(path) != before[path]] == []
    for pattern in {*advice_of_the_code()}:
        tried = any(re.search(pattern, message) for message in messages.values())
        assert tried or any(re.search(one, pattern.replace("\\", "")) for one in ELSEWHERE), pattern
