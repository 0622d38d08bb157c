"""`snakemake status`: which stages would run, and because of what."""

import re

from tests.conftest import ROOT
from workflow.reasons import changed_keys
from workflow.status import StageStatus, render


def lines_of(text):
    return {line.split()[0]: line for line in text.splitlines() if line.strip()}


def test_changed_keys_are_named_with_both_values():
    old = {"probes": {"C": [0.1], "folds": 5, "old": 1}, "games": {"a": 1, "b": 2}}
    new = {"probes": {"C": [0.3], "folds": 5, "new": None}, "games": {"b": 2, "a": 1}}
    assert list(changed_keys(old, new)) == [
        "probes.C: [0.1] -> [0.3]",
        "probes.old is gone",
        "probes.new is new",
        "order of games",
    ]
    assert list(changed_keys(old, old)) == []
    (line,) = changed_keys({"x": "a" * 60}, {"x": None})
    assert line == f"x: {'a' * 21}... -> null"


def test_a_stage_says_what_runs_of_it_and_what_it_follows():
    stages = {
        "probes": {"one": StageStatus(2, 1, causes={"probes.C: 1 -> 2": None})},
        "lens": {"one": StageStatus(3), "": StageStatus(1)},
        "figures": {"": StageStatus(4, 4, made=False, follows={"probes": None})},
    }
    text = render("mine", ["one"], stages, "snakemake plan --configfile mine.yaml")
    assert "`snakemake plan --configfile mine.yaml` says what they take." in text
    assert "Experiment mine: 5 of 10 jobs would run" in text
    found = lines_of(text)
    assert re.fullmatch(r"probes +again 1/2 +probes\.C: 1 -> 2", found["probes"])
    assert re.fullmatch(r"lens +current +current", found["lens"])
    assert re.fullmatch(r"figures +to make +follows probes", found["figures"])
    assert max(map(len, text.splitlines())) <= 100


def test_many_models_share_a_column_and_it_stays_a_screen():
    models = [f"model_{k}" for k in range(63)]
    stages = {"lens": {name: StageStatus(2, 2, causes={"lens.x: 1 -> 2": None}) for name in models}}
    text = render("many", models, stages, "")
    assert re.fullmatch(r"lens +again +lens\.x: 1 -> 2", lines_of(text)["lens"])
    assert len(text.splitlines()) < 12


def test_nothing_to_do_is_one_line():
    text = render("mine", ["one"], {"lens": {"one": StageStatus(3)}}, "")
    assert text.strip() == "Experiment mine: all 3 jobs are current."


def test_of_a_finished_study_an_edit_is_named_with_what_follows(built):
    done = built.snakemake("--cores", "1", "status")
    assert done.returncode == 0, done.stderr[-3000:]
    assert re.search(r"Experiment tiny: all \d+ jobs are current\.", done.stderr)
    done = built.snakemake("--cores", "1", "status", config={"circuits": {"group": 3}})
    assert done.returncode == 0, done.stderr[-3000:]
    found = lines_of(done.stderr[done.stderr.rindex("Experiment tiny") :])
    assert re.search(r"again +again +circuits\.group: 2 -> 3", found["circuits"])
    assert re.search(r"current +current", found["probes"])
    assert found["findings"].endswith("follows circuits")
    with built.edited("src/nashlens/circuits/summary.py", None, "\n\n_EDITED = 1\n"):
        done = built.snakemake("--cores", "1", "status")
    found = lines_of(done.stderr[done.stderr.rindex("Experiment tiny") :])
    assert found["circuits"].endswith("code of summarise_heads")
    assert built.would_run() == set()


def test_a_dry_run_says_of_each_job_why_and_the_page_has_these_words(built):
    """One edit of each kind: a key, code, and a file that is gone."""
    page = (ROOT / "docs/howto/cost.md").read_text()
    told = page.split("The reason stands beside each job:")[1].split("##")[0]
    words = [" ".join(word.split()) for word in re.findall(r"\*([^*]+)\*", told)]
    assert len(words) == 4, words
    lost, lens = built.folder / "results/tiny/quiz.parquet", "src/nashlens/lens/summary.py"
    content = lost.read_bytes()
    lost.unlink()
    try:
        with built.edited(lens, None, "\n\n_EDITED = 1\n"):
            done = built.snakemake("-n", "figures", config={"circuits": {"group": 3}})
    finally:
        lost.write_bytes(content)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-3000:]
    found = re.findall(r"^Job \d+: (.+)\nReason: (.+)$", said, re.M)
    assert [word for word in words if not any(word in reason for _, reason in found)] == []
    reasons = {name.replace("tiny_qwen", "tiny_llama"): reason for name, reason in found}
    last = "since last execution"
    params = f"Params have changed {last}: circuits.group: 2 -> 3"
    assert reasons["Ablated heads of tiny_llama"] == params
    lost_one = "Missing output files: results/tiny/quiz.parquet"
    assert reasons["Accuracy of all models in the quiz"] == lost_one
    assert reasons["Lens of tiny_llama in a few numbers and by layer"] == f"Code has changed {last}"
    assert reasons["Figure heads"].startswith("Input files updated by another job: results/tiny/")
    assert "Forced execution" not in said
    (changed,) = re.findall(r"^what has changed: +(.+)$", said, re.M)
    assert set(changed.split("; ")) == {"circuits.group: 2 -> 3", "code of summarise_lens"}
    # Advice that would change nothing here.
    assert "--cleanup-metadata" not in said
    assert built.would_run() == set()
