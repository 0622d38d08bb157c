"""What rules declare, and what is derived from it: upstream, the picture, the README's table."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from docs.keys import PAGE, write_page
from docs.pipeline import BOXES, PICTURE, box_of, flows, with_column, writes
from nashlens.config.validate import validate
from nashlens.figures.registry import FIGURES
from nashlens.vocabulary.tables import JOINED, SPLIT, WHOLE
from workflow.fingerprint import Code
from workflow.loading import load_workflow

pytestmark = pytest.mark.workflow

ROOT = Path(__file__).resolve().parents[2]
# Keys of the config that no stage reads, since none of them changes a result.
READ_BY_NONE = {
    "experiment.name",
    # What becomes of results of other versions, and how the work is cut up.
    "experiment.versions",
    "activations.shard_prompts",
    # What its jobs ask for.
    "models.NAME.gpus",
    "models.NAME.mem_mb",
    "resources",
    # Which groups of play there are; each group's own matches are unchanged.
    "matches.cross_play",
    "matches.cross_modes",
}

# Code that no result depends on: the checks of the config, how jobs report, a page of the docs, and
# what a study will take.
NO_RESULT = (
    "nashlens.plan",
    "nashlens.gpus",
    "nashlens.models.shapes",
    "nashlens.models.random_weights",
    "nashlens.config",
    "nashlens.vocabulary.figures",
    "nashlens.logs",
    "nashlens.progress",
    "nashlens.findings.page",
    "nashlens.vocabulary.patching",
    "nashlens.prompts.samples",
)
FOR_PEOPLE = {
    "nashlens.results", "nashlens.activations.readonly", "nashlens.vocabulary.tables",
}  # fmt: skip
"""What opens results in Python: no rule reads through it."""


@pytest.fixture(scope="module")
def tiny():
    return load_workflow(ROOT, ["experiments/tiny.yaml"])


def upstream_of_all(provenance, *targets):
    """Walk from targets to their beginnings; return each stage's upstream, by name."""
    found, queue, done = {}, [(target, {}) for target in targets], []
    while queue:
        stage = queue.pop()
        if stage not in done:
            done.append(stage)
            makers = provenance.upstream(*stage)
            found.setdefault(stage[0], set()).update(name for name, _ in makers)
            queue += makers
    return found


def test_upstream_is_what_snakemakes_own_dag_says(tiny):
    targets = ("figures", "report")
    command = [sys.executable, "-m", "snakemake", "--configfile", "experiments/tiny.yaml"]
    done = subprocess.run(
        [*command, "--rulegraph", "dot", "--", *targets],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    names = dict(re.findall(r'(\d+)\[label = "(\w+)"', done.stdout))
    theirs = {name: set() for name in names.values()}
    for maker, user in re.findall(r"(\d+) -> (\d+)", done.stdout):
        theirs[names[user]].add(names[maker])
    assert len(theirs) > 30
    assert upstream_of_all(tiny[1], *targets) == theirs


def test_every_rule_with_a_script_declares_its_stage_under_its_own_name(tiny):
    rules, provenance = tiny
    assert set(provenance.stages) == {name for name, rule in rules.items() if rule.script}
    for name, stage in provenance.stages.items():
        for piece in stage.pieces.values():
            assert piece.of in dict(rules[name].input.items())


def test_a_group_of_play_depends_only_on_its_own_models(tiny):
    provenance = tiny[1]
    for group, models in (("tiny_llama", 1), ("tiny_cot", 1), ("tiny_llama--tiny_qwen", 2)):
        wildcards = {"group": group, "part": "1", "parts": "2"}
        makers = provenance.upstream("play_part", wildcards)
        assert len(provenance.models_of(wildcards)) == models
        assert [given["model"] for name, given in makers if name == "convert_model"] == (
            provenance.models_of(wildcards)
        )


def test_parts_change_no_fingerprint(tiny):
    provenance = tiny[1]
    made = {
        provenance.fingerprint("play_part", {"group": "tiny_llama", "part": part, "parts": parts})
        for part, parts in (("1", "2"), ("2", "2"), ("1", "7"))
    }
    assert len(made) == 1


def test_the_bytes_of_an_adapter_count_in_all_that_is_made_of_its_model(
    tiny, tmp_path, monkeypatch
):
    rules, provenance = tiny
    stages = [
        ("convert_model", {"model": "tiny_llama"}),
        ("read_lens", {"model": "tiny_llama"}),
        ("convert_model", {"model": "tiny_qwen"}),
    ]

    def found():
        provenance._fingerprints.clear()
        return [provenance.fingerprint(*stage) for stage in stages]

    plain = found()
    monkeypatch.setitem(provenance.config["models"]["tiny_llama"], "adapter", str(tmp_path))
    missing = found()
    weights = tmp_path / "adapter_model.safetensors"
    weights.write_bytes(b"first")
    first = found()
    weights.write_bytes(b"other")
    other = found()
    assert [len(set(one)) for one in zip(plain, missing, first, other, strict=True)] == [4, 4, 1]
    inputs = rules["convert_model"].expand_input({"model": "tiny_llama"})[0]
    assert str(weights) in inputs
    monkeypatch.undo()
    assert found() == plain


def test_the_bytes_of_a_folder_count_whatever_its_times(tiny, tmp_path, monkeypatch):
    """A moved download, `cp -p`, weights that are replaced in place."""
    provenance = tiny[1]
    for name in ("config.json", "tokenizer.json", "model.safetensors", "README.json"):
        (tmp_path / name).write_bytes(b"first")
    model = provenance.config["models"]["tiny_llama"]
    monkeypatch.setitem(model, "source", f"path:{tmp_path}")

    def found():
        provenance._fingerprints.clear()
        return provenance.fingerprint("read_lens", {"model": "tiny_llama"})

    made = [found()]
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        before = (tmp_path / name).stat()
        (tmp_path / name).write_bytes(b"other")
        os.utime(tmp_path / name, ns=(before.st_atime_ns, before.st_mtime_ns))
        made.append(found())
    assert len(set(made)) == 4
    (tmp_path / "README.json").write_bytes(b"other")
    assert found() == made[-1]
    monkeypatch.undo()
    provenance._fingerprints.clear()


def test_every_table_of_a_figure_is_made_by_a_rule(tiny):
    rules, provenance = tiny
    for figure, entry in FIGURES.items():
        inputs = rules[f"draw_{figure}"].input
        assert list(inputs.keys()) == list(entry.tables)
        assert all(provenance.find_maker(path) for path in inputs)


def test_every_modules_code_counts_in_a_fingerprint(tiny):
    """Also of those that are imported by a name that the source does not show."""
    rules, provenance = tiny
    source, counted = ROOT / "src", set()
    code = Code(source)
    for name, stage in provenance.stages.items():
        script = ROOT / "scripts" / Path(rules[name].script).name
        counted |= set(code.closure(code.imports(script, "")))
        for own in (stage, *stage.pieces.values()):
            named = own.modules({"model": "tiny_llama"}) if callable(own.modules) else own.modules
            counted |= set(code.closure(named))
    every = {
        ".".join(path.relative_to(source).with_suffix("").parts).removesuffix(".__init__")
        for path in source.rglob("*.py")
    }
    # The package's own `__init__` holds its version.
    uncounted = {
        module for module in every - counted - {"nashlens"} if not module.startswith(NO_RESULT)
    }
    assert uncounted == FOR_PEOPLE


def test_a_real_models_conversion_depends_on_no_wording():
    code = Code(ROOT / "src")
    for script in ("convert_model", "fit_tuned_lens"):
        found = code.closure(code.imports(ROOT / "scripts" / f"{script}.py", ""))
        assert "nashlens.models.tokenizer" in found
        assert "nashlens.prompts.templates" not in found
        assert "nashlens.strategies" not in found


def test_results_know_every_table_and_its_target(tiny):
    """`nashlens.open` names what makes a missing table."""
    rules, provenance = tiny
    target = {"pairs": "patching", "models": None}
    made = {}
    for rule in rules.values():
        for output in map(str, rule.output):
            path = re.sub(r"{(\w+),[^}]*}", r"{\1}", output).removeprefix("results/tiny/")
            if path.endswith(".parquet") and "{part" not in path:
                stem = Path(rule.snakefile).stem
                made[path.removesuffix(".parquet")] = target.get(stem, stem)
    by_model = {f"{name}/{{model}}": made_by for name, made_by in SPLIT.items()}
    for name, target in {**WHOLE, **by_model}.items():
        # The tiny experiment steers no agent.
        if not name.startswith("steered_"):
            path = f"results/tiny/{name.format(model='tiny_llama')}.parquet"
            jobs = provenance.jobs([target])
            assert any(path in outputs for _, _, outputs in jobs), f"{target} makes no {name}"
    joined = {f"{name}/{{model}}" for name in JOINED}
    assert {path: made[path] for path in made.keys() - joined} == WHOLE | by_model
    assert joined <= made.keys()


def leaves(config, prefix=""):
    """Yield the dotted keys of a config; those of named things with NAME in the name's place."""
    for key, value in config.items():
        name = "NAME" if prefix in ("models.", "agents.", "games.") else key
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name


def test_every_key_of_the_config_is_read_by_a_stage_or_changes_no_result(tiny):
    raw = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    keys = set(leaves(validate(raw).model_dump(mode="json")))
    reads = {key for stage in tiny[1].stages.values() for key in stage.reads}
    reads = {
        re.sub(r"{(model|agent|steered|game)}", "NAME", key).replace("{mode}", "cot")
        for key in reads
    }
    reads |= {"modes.scratchpad", "figures.styles"}
    for key in keys:
        parents = {key[: end.start()] for end in re.finditer(r"\.|$", key)}
        read, named = parents & reads, parents & READ_BY_NONE
        assert bool(read) != bool(named), key


def test_the_page_of_the_keys_is_current(tiny):
    text = PAGE.read_text(encoding="utf-8")
    assert write_page(text, tiny[1]) == text, "run python -m docs.keys"


def test_the_picture_shows_the_flows_of_the_rules(tiny):
    drawn = re.findall(r'id="(\w+)-to-(\w+)"', PICTURE.read_text(encoding="utf-8"))
    assert sorted(drawn) == sorted(flows(*tiny))
    assert {box_of(rules) for rules in tiny[0].values() if rules.script} - {None} == set(BOXES)


def test_the_readmes_table_shows_what_the_rules_write(tiny):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert with_column(text, writes(tiny[0])) == text
