"""What a run leaves and what it says, when it succeeds and when it fails."""

import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

from nashlens.findings import CLAIMS
from nashlens.games.table import games_from_table
from nashlens.models.tokenizer import ChatTokenizer
from nashlens.page.transcripts import Wording, transcripts
from nashlens.page.words import slug
from nashlens.prompts.labels import encode_prompt, prompt_id
from nashlens.tables import read_metadata, read_table, write_table
from tests.workflow.workspace import SHOWN, TARGETS

pytestmark = pytest.mark.workflow
ROOT = Path(__file__).resolve().parents[2]


def test_a_run_ends_with_the_figures_and_the_findings(built):
    said = built.first_run.rstrip().splitlines()
    assert said[-2:] == [
        "figures:  results/tiny/figures/",
        "findings: results/tiny/findings.csv",
    ]
    table = [line for line in said if re.match(r"M\d+ +tiny_", line)]
    assert len(table) == 2 * len(CLAIMS)
    for name in SHOWN:
        for suffix in ("png", "svg"):
            assert (built.folder / f"results/tiny/figures/{name}.{suffix}").stat().st_size > 0


def test_every_rule_left_a_log_and_a_benchmark(built):
    results = built.folder / "results/tiny"
    ran = {path.name.removesuffix(".py") for path in (built.folder / "scripts").glob("*.py")}
    for kind in ("logs", "benchmarks"):
        found = {
            path.relative_to(results / kind).parts[0].split(".")[0]
            for path in (results / kind).rglob("*.*")
        }
        missing = {"build_report", "compare_experiments", "calibrate"}
        asking = {"build_report", "price_jobs", "tell_status"}
        assert found - asking == ran - missing - asking


def test_a_second_run_does_nothing(built):
    done = built.snakemake("--cores", "2", "figures")
    assert done.returncode == 0
    assert "Nothing to be done" in done.stdout + done.stderr


def test_figures_name_the_fingerprints_of_their_tables(built):
    results = built.folder / "results/tiny"
    text = (results / "figures/probes.svg").read_text()
    for model in ("tiny_llama", "tiny_qwen"):
        metadata = read_metadata(results / f"probes/{model}.parquet")
        assert metadata["fingerprint"] in text
        assert metadata["config"]["probes"]["C"] == [0.001, 0.03]


def test_every_stage_is_a_target(built):
    asked = {"report", "compare", "calibration", "plan", "status", "verify"}
    assert built.would_run(*sorted(TARGETS - asked)) == set()
    assert built.would_run("report") == {"build_report"}


@pytest.mark.parametrize("last", ["results/tiny/steering/tiny_llama.parquet", "steering"])
def test_a_target_that_is_made_from_another_one_is_made_as_well(fresh, last):
    first = "results/tiny/games.parquet"
    done = fresh.snakemake("-n", first, last)
    assert done.returncode == 0, done.stderr[-3000:]
    alone = fresh.snakemake("-n", last)
    jobs = [re.findall(r"^(\d+) jobs would run", one.stderr, re.MULTILINE) for one in (done, alone)]
    assert jobs[0] == jobs[1]
    assert int(jobs[0][0]) > 5


def test_the_calibration_has_an_experiment_of_its_own(fresh):
    """Without a word of its config on the command line."""
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "-n", "--cores", "2", "calibration"],
        cwd=fresh.folder,
        capture_output=True,
        text=True,
    )
    text = done.stdout + done.stderr
    assert done.returncode == 0, text[-3000:]
    assert "results/calibration/calibration.csv" in text
    assert re.search(r"^calibrate +1$", text, re.MULTILINE)
    assert re.search(r"^sweep_steering +75$", text, re.MULTILINE)
    assert re.search(r"^ablate_heads +75$", text, re.MULTILINE)
    assert re.search(r"^spike_model +75$", text, re.MULTILINE)
    # Of play, that of the steered players alone.
    assert re.search(r"^play_part +10$", text, re.MULTILINE)
    assert re.search(r"^check_players +4$", text, re.MULTILINE)
    assert "measure_play" not in text


def test_the_report_is_one_page_made_from_the_tables(built):
    done = built.snakemake("--cores", "2", "report")
    assert done.returncode == 0, done.stderr[-3000:]
    page = (built.folder / "results/tiny/report.html").read_text()
    assert len(page.encode()) < 4e6
    for row in pd.read_csv(built.folder / "results/tiny/findings.csv").itertuples():
        assert f'id="{slug(row.claim, row.model)}"' in page
    assert ", made on cpu, tiny_llama in float32" in page
    assert done.stderr.rstrip().splitlines()[-2] == "page:     results/tiny/report.html"
    assert built.would_run("report") == set()
    with built.edited("src/nashlens/page/templates/page.css", None, "p{margin:0}"):
        assert built.would_run("report") == {"build_report"}
    damaged = page.replace("</h2>", "</h3>", 1)
    (built.folder / "results/tiny/report.html").write_text(damaged)
    told = built.snakemake("verify")
    assert told.returncode == 1
    assert "results/tiny/report.html" in told.stdout
    done = built.snakemake("--cores", "2", "report")
    assert done.returncode == 0, done.stderr[-3000:]
    assert (built.folder / "results/tiny/report.html").read_text() == page


def test_what_agents_saw_is_what_was_tokenised(built):
    """The page puts prompts together again; their tokens have the ids of the play table."""
    results = built.folder / "results"
    play = read_table(results / "tiny/play.parquet")
    texts = read_table(results / "tiny/texts.parquet")
    games = games_from_table(read_table(results / "tiny/games.parquet"))
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    config["prompts"]["label_sets"].pop("pq")
    wording = Wording.of(config)
    checked = set()
    for name, rows in play.groupby("match_id", sort=False):
        first = rows.iloc[0]
        kind = first["row_agent"], first["move_order"], first["template"]
        if kind in checked or pd.isna(first["model"]):
            continue
        records = rows.to_dict("records")
        pairs = {}
        for row in records:
            pairs.setdefault(row["round"], [{}, {}])[row["seat"] == "column"] = row
        rounds = [tuple(pair) for _, pair in sorted(pairs.items())]
        written = texts[texts["match_id"] == name].to_dict("records")
        game = next(g for g in games if (g.name, g.variant) == (first["game"], first["variant"]))
        for seat, seen in enumerate(transcripts(rounds, written, game, wording)):
            for number, pair in enumerate(rounds, start=1):
                row = pair[seat]
                if pd.isna(row["model"]):
                    continue
                tokenizer = ChatTokenizer(results / "models" / row["model"])
                content = seen.prompt(number, wording.window)
                messages = [
                    {"role": "system", "content": config["prompts"]["system"]},
                    {"role": "user", "content": content},
                ]
                start = config["prompts"]["assistant_prefix"]
                wanted = row["prompt_id"]
                if row["mode"] == "cot":
                    # The labels are scored after the text; what it was written after is asked.
                    start = ""
                    own = [t for t in written if t["seat"] == row["seat"]]
                    wanted = next(
                        t["prompt_id"]
                        for t in own
                        if t["kind"] == "reasoning" and t["round"] == number
                    )
                ids = encode_prompt(tokenizer, tokenizer.chat(messages) + start)
                assert prompt_id(ids) == wanted, (name, row["seat"], number)
        checked.add(kind)
    assert {kind[0] for kind in checked} >= {"tiny_llama", "tiny_cot", "tiny_notes"}


def test_two_experiments_are_compared_from_what_their_tables_say(built):
    results = built.folder / "results"
    other = results / "other"
    shutil.copytree(results / "tiny/findings", other / "findings")
    findings = read_table(results / "tiny/findings.parquet")
    findings.loc[findings["claim"] == "M1", "verdict"] = "supported"
    made = read_metadata(results / "tiny/findings.parquet")
    made["config"]["findings"]["q_value"] = 0.25
    write_table(
        findings, other / "findings.parquet", config=made["config"], fingerprint=made["fingerprint"]
    )
    named = "experiments=[tiny, other]"
    done = built.snakemake(
        *("--cores", "1", "compare", "--config", named), config={"experiment": {"name": "not_run"}}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr.splitlines()[-1] == "page:     results/compare/tiny--other.html"
    # The config at hand is that of no run.
    assert not (results / "not_run").exists()
    page = (results / "compare/tiny--other.html").read_text()
    assert "2 verdicts changed" in page
    assert re.search(r"findings.q_value</code></th><td><code>0.05</code></td><td><code>0.25", page)
    shutil.rmtree(other)
    done = built.snakemake("-n", "compare", "--config", "experiments=[tiny, gone]")
    assert done.returncode == 1
    last = done.stderr.rstrip().splitlines()[-1]
    assert last.startswith("nashlens: config: experiments: results/gone/findings.parquet is not")
    assert "snakemake --cores all findings" in last
    for wrong in ("experiments=[tiny]", "experiments=[tiny, ../tiny]", "experiments=tiny"):
        done = built.snakemake("-n", "compare", "--config", wrong)
        assert done.returncode == 1
        assert done.stderr.rstrip().splitlines()[-1].startswith("nashlens: config: experiments: ")


def test_snakemakes_own_report_tells_how_everything_was_made(built):
    done = built.snakemake("--report", "provenance.html", "figures")
    assert done.returncode == 0, done.stderr[-3000:]
    page = (built.folder / "provenance.html").read_text()
    assert all(f"{name}.svg" in page for name in SHOWN)
    assert not re.search(r'(?:src|href)="https?://[^"]+\.(?:js|css)"', page)


def test_a_failing_job_ends_with_the_line_that_matters_and_its_log(built):
    line = "    tables = study_probes(\n"
    fails = '    raise __import__("nashlens.errors").errors.DataError("no such luck")\n' + line
    with built.edited("scripts/fit_probes.py", line, fails):
        done = built.snakemake("--cores", "1", "results/tiny/probes/tiny_qwen.parquet")
    log = "results/tiny/logs/fit_probes/tiny_qwen.log"
    assert done.returncode == 1
    assert done.stderr.rstrip().splitlines()[-1] == f"nashlens: error: no such luck (log: {log})"
    assert "Traceback" not in done.stderr
    assert "Traceback" in (built.folder / log).read_text()
    assert built.snakemake("--cores", "2", "figures").returncode == 0


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"probes": {"CC": 1}}, ["probes.CC"]),
        ({"probes": {"C": -1}, "matches": {"rounds": "x"}}, ["matches.rounds", "probes.C"]),
        ({"models": {"tiny_llama": {"source": "path:gone"}}}, ["models.tiny_llama.source"]),
        ({"steering": {"layers": [99]}}, ["steering.layers", "steering.layers"]),
    ],
)
def test_bad_input_is_one_line_each_and_status_1(fresh, config, said):
    done = fresh.snakemake("--cores", "1", "figures", config=config)
    assert done.returncode == 1
    lines = re.findall(r"^nashlens: config: (\S+?):", done.stderr, re.MULTILINE)
    assert sorted(lines) == sorted(said)
    assert "Traceback" not in done.stderr + done.stdout
    assert "rror in" not in done.stderr
    assert not (fresh.folder / "results").exists()


def test_the_papers_experiment_dry_runs_at_once_and_without_torch(fresh):
    fresh.overlay = "experiments/paper.yaml"
    start = time.monotonic()
    done = fresh.snakemake("--cores", "8", "-n", "figures")
    assert done.returncode == 0, done.stderr[-3000:]
    assert time.monotonic() - start < 30
    assert "extract_activations" in done.stdout + done.stderr
    code = (
        "import sys, runpy; sys.argv = ['snakemake', '-n', '--quiet', '--cores', '1'];\n"
        "try: runpy.run_module('snakemake', run_name='__main__')\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "assert not {'torch', 'transformers'} & set(sys.modules), 'heavy'"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=fresh.folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
