"""`snakemake plan`: its counts are those of the tables that the jobs made."""

import re

import pandas as pd
import pytest
import yaml

from nashlens.config.doses import dose_agents
from nashlens.config.validate import validate
from nashlens.plan.spikes import count_verdicts
from nashlens.plan.study import Job, Study
from nashlens.steering.spiked_answers import ASKED
from nashlens.tables import read_table
from tests.configs import merge
from tests.conftest import ROOT
from workflow.groups import play_groups

PARTS = 2


@pytest.fixture(scope="module")
def tables(built):
    return built.folder / "results/tiny"


@pytest.fixture(scope="module")
def study(built):
    files = (ROOT / "config.yaml", ROOT / "experiments/tiny.yaml")
    checked = validate(merge(*(yaml.safe_load(file.read_text()) for file in files)))
    config = checked.model_dump(mode="json")
    config["agents"] = dose_agents(config["agents"], config["steering"]["units"])
    folders = {m: built.folder / "results/models" / m for m in ("tiny_llama", "tiny_qwen")}
    return Study(config, play_groups(config["agents"], config["matches"]), folders)


def one(study, rule, model="tiny_llama", **job):
    return study.work(Job(rule, (model,), **job))[model]


def test_prompts_are_those_of_the_table(study, tables):
    for model in ("tiny_llama", "tiny_qwen"):
        counted, made = study.stages[model].prompts, read_table(tables / f"prompts/{model}.parquet")
        # Snakemake puts an overlay's games first, and this config the default's.
        frames = [f.sort_values("prompt_id", ignore_index=True) for f in (counted, made)]
        pd.testing.assert_frame_equal(*frames)
        found = one(study, "build_prompts", model)
        assert (found.prompts, found.tokens) == (len(made), made["n_tokens"].sum())


def test_play_has_as_many_prompts_and_writes_as_much_as_was_played(study, tables):
    play, texts = (
        pd.concat(read_table(tables / f"{kind}{name}.parquet") for kind in ("", "steered_"))
        for name in ("play", "texts")
    )
    play = play[play["model"].notna()]
    found = {"tiny_llama": [0, 0, 0], "tiny_qwen": [0, 0, 0]}
    unique = 0.0
    for group in study.groups:
        for part in range(1, PARTS + 1):
            works = study.work(Job("play_part", group=group, part=part, parts=PARTS))
            for model, work in works.items():
                counts = (work.prompts, work.tokens, work.written)
                found[model] = [a + b for a, b in zip(found[model], counts, strict=True)]
                unique += work.unique(study.shapes[model])
    assert not study.sampled
    for model, (prompts, tokens, written) in found.items():
        rows = play[play["model"] == model]
        assert prompts == len(rows)
        # What was written differs, and with it what later prompts quote.
        assert tokens == pytest.approx(rows["n_tokens"].sum(), rel=0.1)
        assert written >= texts.loc[texts["model"] == model, "n_tokens"].sum()
    assert unique < play["n_tokens"].sum()


@pytest.mark.parametrize(
    ("rule", "table"),
    [
        ("ask_quiz", "quiz"),
        ("ask_beliefs", "beliefs"),
        ("sweep_steering", "steering"),
        ("ablate_heads", "heads"),
        ("patch_pairs", "patching"),
        ("attribute_answers", "override"),
    ],
)
def test_stages_ask_as_many_prompts_as_their_tables_have(study, tables, rule, table):
    made = read_table(tables / f"{table}/tiny_llama.parquet")
    asked = {
        "quiz": lambda: len(made),
        "beliefs": lambda: 2 * len(made),
        # By what one row is about; components are ablated on some histories, after these were read
        # for their means, and groups on others.
        "steering": lambda: made["prompt_id"].nunique(),
        "heads": lambda: (
            made["prompt_id"].nunique() + made.loc[made["phase"] == "choose", "prompt_id"].nunique()
        ),
        "patching": lambda: made["pair_id"].nunique(),
    }
    found = one(study, rule)
    if table == "override":
        assert found.prompts >= made["prompt_id"].nunique()
    else:
        assert found.prompts == asked[table]()


def test_spikes_are_judged_as_often_as_their_table_has_rows(study, tables):
    made = read_table(tables / "spikes/tiny_llama.parquet")
    stages, config = study.stages["tiny_llama"], study.config
    layers, probed = (
        stages._resolved(config[name]["layers"], first=first)
        for name, first in (("spikes", 1), ("probes", 0))
    )
    found = count_verdicts(config, layers, probed, conflicts=True)
    about_answers = made["claim"].isin(list(ASKED))
    # M10 is asked of four spikes, but in so few components there can be no choir.
    assert not (made["claim"] == "M10").any()
    assert found.answers - 4 == about_answers.sum()
    assert found.readings == (~about_answers).sum()


def test_activations_take_what_lies_on_disk(study, tables):
    folder = tables / "activations/tiny_llama"
    found = [one(study, "extract_activations", part=p, parts=PARTS) for p in (1, 2)]
    stored = sum(file.stat().st_size for file in folder.glob("shard-*.npy"))
    assert sum(work.disk for work in found) == pytest.approx(stored, rel=0.05)
    assert sum(work.rows for work in found) < sum(work.tokens for work in found) * 4


def test_nothing_to_do_is_said_and_an_edit_is_priced(built):
    done = built.snakemake("--cores", "1", "plan")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Experiment tiny: nothing to do" in done.stderr
    assert "a scheduler may end such a job" not in done.stderr
    table = pd.read_csv(built.folder / "results/tiny/plan.csv")
    assert table["jobs"].sum() == 0
    assert not table[["tokens", "operations", "core_seconds_here", "disk_bytes"]].any(axis=None)
    done = built.snakemake("--cores", "1", "plan", config={"circuits": {"group": 3}})
    assert done.returncode == 0, done.stderr[-3000:]
    priced = pd.read_csv(built.folder / "results/tiny/plan.csv").query("jobs > 0")
    assert {"ablate_heads", "summarise_heads", "judge_findings"} <= set(priced["rule"])
    assert not {"play_part", "sweep_steering", "fit_probes"} & set(priced["rule"])
    # Of what does not hang on it, nothing would run.
    about = {"circuits": {"group": 3}, "target": "lens"}
    done = built.snakemake("--cores", "1", "plan", config=about)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Experiment tiny, lens: nothing to do" in done.stderr
    assert set(pd.read_csv(built.folder / "results/tiny/plan.csv")["rule"]) < set(table["rule"])
    # Asking changed nothing.
    assert built.would_run() == set()


def test_a_study_is_planned_where_there_is_neither_a_gpu_nor_the_hub(fresh):
    fresh.overlay = "experiments/paper.yaml"
    done = fresh.snakemake("--cores", "1", "plan")
    assert done.returncode == 0, done.stderr[-3000:]
    assert " GPU hours and " in done.stdout + done.stderr


def test_the_study_at_the_8b_shape_is_said_within_a_quarter_of_what_it_took(fresh):
    """Two runs on an H200 with 16 cores took 307 and 335 s (docs/benchmarks.md)."""
    fresh.overlay = "experiments/shape.yaml"
    done = fresh.snakemake("--cores", "1", "plan")
    assert done.returncode == 0, done.stderr[-3000:]
    minutes = re.search(r"^H200 .* done on 1 in (\d+) min", done.stdout + done.stderr, re.M)
    assert minutes is not None
    assert 0.75 * 335 < 60 * int(minutes[1]) < 1.25 * 307
    planned = pd.read_csv(fresh.folder / "results/shape/plan.csv").set_index("rule")
    # Seconds of all jobs on the GPU; of one core, ten of which fit probes.
    assert planned["gpu_seconds_h200"].sum() == pytest.approx(946, rel=0.25)
    for rule, taken in (("judge_play", 16.0), ("measure_play", 16.8), ("convert_model", 39.3)):
        assert planned.loc[rule, "core_seconds_h200"] == pytest.approx(taken, rel=0.25), rule
