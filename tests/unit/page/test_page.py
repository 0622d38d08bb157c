"""What the page says, whatever was written into the tables."""

import inspect
import json
import re
from html.parser import HTMLParser
from importlib import metadata

import pandas as pd
import pytest

from nashlens.files import write_sealed
from nashlens.findings.claims import ALL_CLAIMS
from nashlens.findings.conditions import above, as_text, at_least, case, same
from nashlens.page import build_page, load_study
from nashlens.page.board import board, ladder, no_ladder, sentences
from nashlens.page.html import as_json, bundle
from nashlens.page.method import CLAIMS, MODULES, method_of
from nashlens.page.sections import _file_of, sections
from nashlens.page.walk import walk
from nashlens.page.words import MINUS
from nashlens.tables import write_table
from nashlens.vocabulary.page import NEEDED, SHOWN, TRACED
from tests.unit.page.studies import conditions, study

HOSTILE = """<script>alert(1)</script></script><!-- " ' {{ 7*7 }} {% x %} \u2028 &lt; <img src=x>"""


class Elements(HTMLParser):
    """Counts elements and collects what they hold."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.texts = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.texts.append(data)


@pytest.fixture(scope="module")
def plain():
    return build_page(study())


@pytest.fixture(scope="module")
def hostile():
    # No model can be called that, but a label, a game, a text or a reason can.
    return build_page(study(said=HOSTILE, title=HOSTILE, games=("pd", "hunt"), repetitions=8))


def test_what_others_wrote_adds_no_element_and_is_all_there(plain, hostile):
    calm, wild = Elements(plain), Elements(hostile)
    for tag in ("script", "img", "style", "link", "iframe"):
        assert wild.tags.count(tag) == calm.tags.count(tag), tag
    assert not [name for name, _ in wild.attributes if name.startswith("on")]
    assert any(HOSTILE.strip() in text for text in wild.texts)
    assert "{{ 7*7 }}" in hostile
    assert "49" not in re.findall(r"because (.*?)</p>", hostile)


def test_json_in_a_script_ends_no_script_and_reads_back(hostile):
    embedded = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', hostile, re.S)
    assert len(embedded) > 3
    for text in embedded:
        assert "<" not in text
        json.loads(text)
    data = json.loads(embedded[-1])
    match = data["matches"][0]
    assert match["seats"][0]["n"][0]["w"] == [["reasoning", f"I think {HOSTILE}"]]
    assert data["games"]["pd"] == {
        "title": HOSTILE, "actions": [f"help{HOSTILE}", f"harm{HOSTILE}"]
    }  # fmt: skip
    assert set(match["labels"]) == {f"J{HOSTILE}", f"F{HOSTILE}"}
    assert match["agents"] == [f"small{HOSTILE}", "tft"]
    assert f"jf{HOSTILE}" in match["form"]
    assert {mode for one in data["matches"] for mode in one["modes"]} == {
        "cot", f"direct{HOSTILE}", "script"
    }  # fmt: skip


def test_json_refuses_what_is_no_json():
    assert json.loads(as_json({"a": "</script>\u2029"})) == {"a": "</script>\u2029"}
    with pytest.raises(ValueError, match="not JSON compliant"):
        as_json(float("nan"))


def test_the_bundle_ends_no_script_and_names_no_address_to_fetch():
    assert "</script" not in bundle()
    assert "<!--" not in bundle()


def test_nothing_is_fetched(plain):
    for name, value in Elements(plain).attributes:
        if name in ("src", "href", "data", "poster", "action"):
            assert value.startswith(("#", "data:,")), value
    assert "default-src 'none'" in plain


def test_every_claim_of_this_version_has_a_method_and_a_title():
    assert set(CLAIMS) == {claim.id for claim in ALL_CLAIMS}
    for name in CLAIMS:
        method = method_of(name)
        assert method.title
        assert method.text
    assert method_of("M6").fields["peak_layer"] == "Late layer with the largest action part."
    assert {t.name: t.value for t in method_of("M6").thresholds} == {
        "PREFERENCE": 0.2, "LEAST_PROBABILITY": 0.5, "LEAST_EARLY": 0.05, "WORD_SHARE": 0.5
    }  # fmt: skip
    imported = next(t for t in method_of("M6").thresholds if t.name == "PREFERENCE")
    assert imported.means
    assert method_of("Z9") is None


@pytest.mark.parametrize("name", CLAIMS)
def test_how_a_claim_is_measured_takes_three_plain_sentences(name):
    text = method_of(name).text
    sentences = re.split(r"(?<=[.!?])\s+", text)
    assert 2 <= len(sentences) <= 3
    for sentence in sentences:
        assert len(sentence.split()) <= 45, sentence
    assert text.endswith(".")
    # What is estimated, how sure it is, and what it is held against.
    for said in ("estimate", "interval|bounds", "control"):
        assert re.search(said, text, re.IGNORECASE), said
    # One paragraph: what more there is to say is in docs/explanation/verdicts.md.
    assert "\n\n" not in inspect.getdoc(MODULES[name]).partition("\n\n")[2]


def test_what_a_claim_reads_is_traced():
    read = {table for claim in ALL_CLAIMS for table in claim.tables}
    assert read - {"models"} <= {*SHOWN, *TRACED}


def test_a_table_says_with_which_versions_device_and_precision_it_was_made(tmp_path):
    home = tmp_path / "results/mine"

    def found():
        files = {name: str(home / f"{name}.parquet") for name in (*NEEDED, "lens")}
        for path in files.values():
            write_table(pd.DataFrame({"layer": [1]}), path, config={}, fingerprint="f" * 8)
        loaded = load_study("mine", files, config={}, command=study().command)
        return loaded.sources["lens"][0], _file_of(loaded, "lens", "one")

    bare, shown = found()
    assert f", torch {metadata.version('torch')}" in bare.packages
    assert shown.endswith("fingerprint ffffffff")
    precision = {"one": {"dtype": "bfloat16", "quantization": "nf4"}}
    record = {"device": "NVIDIA H200", "precision": precision}
    write_sealed(home / ".provenance/lens.parquet.json", record)
    assert found()[1] == shown + ", made on NVIDIA H200, one in bfloat16, nf4"


def test_a_sentence_says_what_was_found_as_published_and_controlled():
    one = sentences(study())[0]
    assert [end.verdict.name for end in one.endings] == ["supported", "contradicted"]
    assert one.endings[1].why == " (0.50 ), it follows the word"
    published, controlled = one.ladder[1:]
    assert (published, one.ladder[0]) == (5, 5)
    frame = study().findings
    laddered = frame[frame["claim"].isin(["M1", "M3", "M5", "M6", "M7"])]
    assert controlled == (laddered["verdict"] == "supported").sum()


def said_of_models(page):
    """Return the text of the first screen's list, an entry a model."""
    listed = re.search(r'<ul class="sentences">(.*?)</ul>', page, re.DOTALL)[1]
    entries = re.findall(r"<li>(.*?)</li>", listed, re.DOTALL)
    return [" ".join(re.sub("<[^>]+>", "", one).split()) for one in entries]


def test_each_models_answer_is_one_sentence_and_the_board_counts_its_claims(plain):
    (said,) = said_of_models(plain)
    assert said == (
        "small As published: ✓ supported (0.50 );"
        " with controls: ✗ contradicted (0.50 ), it follows the word."
    )
    assert f"M6</a>: {CLAIMS['M6'].statement}" in plain
    caption = re.search(r'id="board">\s*<caption>(.*?)</caption>', plain, re.DOTALL)[1]
    counts = study().findings.query("model == 'small'")["verdict"].value_counts()
    for name, word in (("supported", "supported"), ("not_applicable", "not judged")):
        assert f"{counts[name]} {word}" in caption
    assert "of 5 asked both ways, 5 supported as published" in caption


def test_without_a_ladder_the_sentence_gives_the_reason_and_no_more():
    bare = study()
    bare.tables["ladder"] = bare.tables["ladder"].iloc[:0]
    rows = bare.tables["findings"]
    rows.loc[rows["claim"] == "M6", "reason"] = "it is 0.01 [0.00, 0.02]: none. It may be. So."
    (said,) = said_of_models(build_page(bare))
    assert said.startswith("small With controls: ")
    assert said.endswith(", it is 0.01 [0.00, 0.02]: none.")
    bare.tables["findings"] = rows[rows["claim"] != "M6"]
    assert said_of_models(build_page(bare)) == ["small No finding is about M6."]


def test_without_words_there_is_no_ladder_and_the_page_says_so():
    bare = study()
    bare.tables["ladder"]["estimate"] = float("nan")
    assert ladder(bare) == ([], [])
    assert no_ladder(bare).startswith("No ladder: ")
    assert no_ladder(study()) == ""


def test_the_board_has_a_column_for_pairs_and_a_row_for_each_claim():
    columns, rows = board(study(models=("one", "two")))
    assert columns == ["one", "two", "pairs and families"]
    assert [row.claim for row in rows] == [claim.id for claim in ALL_CLAIMS]
    first = rows[0]
    assert [len(cells) for cells in first.cells] == [1, 1, 0]
    assert first.cells[0][0].verdict.name == "supported"


def subject_of(claim, table=None):
    """Return a claim's subject in a study of these findings."""
    told = study()
    if table is not None:
        told.tables["findings"] = table
    return next(one for one in sections(told) if one.claim == claim).subjects[0]


@pytest.mark.parametrize("verdict", ["supported", "contradicted", "inconclusive"])
def test_a_rule_is_walked_through_with_its_numbers_to_its_verdict(verdict):
    rows = study().findings
    rows["conditions"] = conditions(verdict, "")
    rows["verdict"] = verdict
    found = subject_of("M6", rows).walk
    value, other = {
        "supported": ("0.75", "0.75"),
        "contradicted": (f"{MINUS}0.75", f"{MINUS}0.75"),
        "inconclusive": ("0", "0"),
    }[verdict]
    yes = {"supported": (True, False), "contradicted": (False, True)}.get(verdict, (False, False))
    assert [(line.compared, line.holds) for line in found.lines] == [
        (f"{value} ≥ 0.50", yes[0]),
        ("not measured > 0", False),
        (f"{other} ≤ {MINUS}0.50", yes[1]),
        ("", False),
    ]
    assert [step.asks for step in found.steps] == [
        "1, 2 are yes", "1 is yes", "3 is yes and 4 is no", ""
    ]  # fmt: skip
    assert found.steps[0].lacks == ("2" if verdict == "supported" else "1, 2")
    assert found.end.verdict.name == verdict
    assert [step.decides for step in found.steps].count(True) == 1


def test_the_page_prints_a_line_for_each_condition_and_the_verdict_last():
    told = study()
    page = build_page(told)
    shown = " ".join("".join(Elements(page).texts).split())
    for section in sections(told):
        for one in section.subjects:
            if one.verdict.name == "not_applicable":
                assert one.walk is None
                assert f"The rule was not asked: {one.reason}" in shown
                continue
            for line in one.walk.lines:
                said = " ".join(f"{line.words} {line.compared}".split())
                assert f"{said}: {line.answer}" in shown
            assert one.walk.end.verdict == one.verdict
    assert page.count('class="decides"') == (told.findings["verdict"] != "not_applicable").sum()
    assert "NO_FLOOR" not in page


def test_findings_without_conditions_are_shown_and_say_so():
    rows = study().findings.drop(columns="conditions")
    assert subject_of("M6", rows).walk is None
    told = study()
    told.tables["findings"] = rows
    shown = build_page(told)
    assert (
        shown.count("This finding states no conditions")
        == (rows["verdict"] != "not_applicable").sum()
    )


def test_numbers_that_read_alike_are_written_until_they_differ():
    close = [above("a", 0.5001, 0.5), above("b", -0.5, -0.5001), at_least("c", 0.5, 0.5)]
    lines = walk(as_text([case("supported", *close)])).lines
    assert [line.compared for line in lines] == [
        "0.5001 > 0.5", f"{MINUS}0.5 > {MINUS}0.5001", "0.50 ≥ 0.50"
    ]  # fmt: skip
    words = same("M6 of its base", "contradicted", "supported")
    (line,) = walk(as_text([case("supported", words), case("inconclusive")])).lines
    assert (line.compared, line.answer) == ("is supported (found: contradicted)", "no")


def test_a_section_says_what_was_measured_and_where_the_number_comes_from():
    section = next(one for one in sections(study()) if one.claim == "M6")
    subject = section.subjects[0]
    assert subject.origin.made_by.path == "results/mine/findings/small.parquet"
    both = "results/mine/findings/small.parquet results/mine/findings.parquet"
    assert f"--force {both}" in subject.origin.command
    assert "--configfile mine.yaml" in subject.origin.command
    row = study().findings.iloc[int(subject.origin.row.split()[1])]
    assert (row["claim"], row["model"]) == ("M6", "small")
    detail = {one.name: one for one in subject.detail}
    assert detail["peak layer"].value == "4"
    assert detail["peak layer"].means == "Late layer with the largest action part."
    assert [part.agreement for part in subject.strips[0][1]] == ["agrees", "not judged"]


@pytest.mark.parametrize(
    ("found", "unit", "said"),
    [
        (0.3, "logits", "0.30 logits"),
        (float("inf"), "logits", "none"),
        (float("nan"), "logits", "no need: in most draws the model has the verdict without it"),
        (float("nan"), "", None),
    ],
)
def test_a_section_says_which_effect_put_in_is_found(found, unit, said):
    made = study()
    made.tables["findings"] = made.tables["findings"].assign(spike_found=found, spike_unit=unit)
    subjects = [subject for section in sections(made) for subject in section.subjects]
    assert subjects
    for subject in subjects:
        numbers = {one.name: one.value for one in subject.numbers}
        assert numbers.get("spike-in found") == said


def test_the_claim_about_pairs_says_how_many_were_dropped_in_each_model():
    told = study(models=("one", "two"))
    told.tables["pairs"] = pd.DataFrame(
        {
            "model": ["one"] * 3 + ["two"] * 2,
            "kind": "payoffs",
            "dropped": ["not aligned: 8 and 9 tokens", "", "", "", ""],
        }
    )
    by_claim = {one.claim: one for one in sections(told)}
    said = {
        subject.name: {number.name: number.value for number in subject.numbers}
        for subject in by_claim["M11"].subjects
    }
    assert said["one"]["pairs dropped"] == "payoffs: 1 of 3 dropped: not aligned (1)"
    assert said["two"]["pairs dropped"] == "payoffs: 0 of 2 dropped"
    assert "1 of 3 dropped: not aligned (1)" in build_page(told)
    others = [n.name for s in by_claim["M6"].subjects for n in s.numbers]
    assert "pairs dropped" not in others
