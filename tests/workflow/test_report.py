"""The page of a finished experiment: opened in a browser, and typed after."""

import ast
import html
import re
import shlex

import pandas as pd
import pytest

from tests.browser import CHECKED, DESKTOP, Opened, drawn, inside, serious, zoom_changes_labels

pytestmark = pytest.mark.workflow


@pytest.fixture(scope="module")
def path(built):
    home = built.folder / "results/tiny"
    page, record = home / "report.html", home / ".provenance/report.html.json"
    there = page.exists()
    done = built.snakemake("--cores", "2", "report")
    assert done.returncode == 0, done.stderr[-3000:]
    yield page
    # Other tests see it made.
    if not there:
        page.unlink()
        record.unlink()


@pytest.fixture(scope="module")
def text(path):
    return path.read_text()


@pytest.fixture
def opened(chromium, path):
    found = Opened(chromium, path, viewport=DESKTOP)
    yield found
    found.context.close()


def shown(text, mark):
    """Return what the page shows in the elements `pre` of a mark."""
    found = re.findall(rf"<pre {re.escape(mark)}>(.*?)</pre>", text, re.DOTALL)
    assert found, mark
    return [html.unescape(one) for one in found]


def typed(code):
    """Return the value of each line that is an expression, as a session of Python shows it."""
    names, values = {}, []
    for line in ast.parse(code).body:
        if isinstance(line, ast.Expr):
            values.append(eval(ast.unparse(line), names))
        else:
            exec(ast.unparse(line), names)
    return values


def test_what_reads_a_finding_in_python_reads_the_row_that_is_shown(built, text, monkeypatch):
    monkeypatch.chdir(built.folder)
    findings = pd.read_parquet("results/tiny/findings.parquet")
    found = shown(text, 'class="code"')
    assert len(found) == len(findings)
    order = pd.concat([typed(code)[0].T for code in found]).sort_index()
    pd.testing.assert_frame_equal(order, findings.astype(object), check_dtype=False)


def test_what_reads_the_matches_in_python_reads_them_all(built, text, monkeypatch):
    monkeypatch.chdir(built.folder)
    (code,) = shown(text, 'id="matches-code"')
    texts, play = typed(code)
    assert set(texts["match_id"]) <= set(play["match_id"])
    assert play["match_id"].nunique() == 1
    assert play["round"].is_monotonic_increasing
    every = re.sub(r"match_id == '.*?'", "match_id == match_id", code)
    whole = {name: pd.read_parquet(f"results/tiny/{name}.parquet") for name in
             ("play", "steered_play", "texts", "steered_texts")}  # fmt: skip
    for name, read in zip(("texts", "play"), typed(every), strict=True):
        assert len(read) == len(whole[name]) + len(whole[f"steered_{name}"])
        assert f"<code>steered_{name}.parquet</code>" in text


def test_what_makes_a_number_again_judges_it_and_makes_its_row(built, text):
    commands = dict.fromkeys(shown(text, 'class="again"'))
    assert len(commands) == 4  # of each model, of play, and of descent
    judged = set()
    for command in commands:
        program, *words = shlex.split(command)
        assert program == "snakemake"
        assert "results/tiny/findings.parquet" in words
        assert words[words.index("--configfile") + 1 :] == [built.overlay]
        asked = words[: words.index("--configfile")]
        assert asked[:2] == ["--cores", "all"]
        rules = built.would_run(*asked[2:])
        assert "join_findings" in rules
        judged |= rules - {"join_findings"}
        assert len(rules) == 2
    assert judged == {"judge_findings", "judge_play", "judge_lineage"}


def test_the_page_of_a_real_run_is_read_on_one_screen_and_by_all(opened, path):
    page = opened.page
    for selector in ("h1", ".sentences li", "#board tr", "#ladder tr", ".legend"):
        found = inside(page, selector)
        assert found, selector
        assert all(found), selector
    assert page.locator(".sentences li").count() == 2
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    for chart in page.locator(".chart").all():
        chart.scroll_into_view_if_needed()
    page.wait_for_function(
        "document.querySelectorAll('.chart').length"
        " === document.querySelectorAll('.chart[data-drawn]').length"
    )
    # Of those that the made-up study has no rows for, one of each form.
    for name in ("M7-chart2", "M11-chart2", "B7-chart2"):
        assert zoom_changes_labels(page, drawn(page, name)), name
    page.locator("#list .rounds button").first.click()
    assert page.locator("#round .saw").first.inner_text()
    assert serious(page, CHECKED) == []
    assert opened.complaints == []
    assert opened.requests == [path.as_uri()]
