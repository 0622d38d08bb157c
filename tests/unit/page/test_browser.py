"""The page in a real browser: it loads, shows, filters, and can be used by all."""

import csv

import pytest

from nashlens.page import build_page
from nashlens.page.compare import build_comparison
from tests.browser import (
    CHECKED,
    DESKTOP,
    PHONE,
    Opened,
    becomes,
    drawn,
    inside,
    labels_of,
    middle,
    serious,
    zoom_changes_labels,
)
from tests.unit.page.studies import study
from tests.unit.page.test_compare import two
from tests.unit.page.test_page import HOSTILE


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """The page of two models, with hostile texts wherever others write."""
    file = tmp_path_factory.mktemp("page") / "report.html"
    shown = study(("one", "two"), HOSTILE, HOSTILE, repetitions=24, games=("pd", "hunt"))
    file.write_text(build_page(shown))
    return file


@pytest.fixture(scope="module")
def opened(chromium, path):
    found = Opened(chromium, path, viewport=DESKTOP)
    yield found
    found.context.close()


@pytest.fixture
def page(opened):
    return opened.page


def test_it_loads_without_a_complaint_or_a_request(opened, path):
    opened.page.locator(".chart[data-drawn]").first.wait_for()
    assert opened.requests == [path.as_uri()]
    assert opened.complaints == []


def test_the_first_screen_holds_the_question_the_answers_the_board_and_the_ladder(page):
    page.evaluate("scrollTo(0, 0)")
    for selector in ("h1", ".sentences li", "#board tr", "#ladder tr", ".legend"):
        shown = inside(page, selector)
        assert shown, selector
        assert all(shown), selector
    assert "Nash action" in page.locator("h1").inner_text()
    assert page.locator(".sentences li").count() == 2
    said = page.locator(".sentences li").first.inner_text()
    assert said.startswith("one As published: ✓ supported (0.50 ")
    assert "; with controls: ✗ contradicted (0.50 " in said
    assert page.locator(".asked").inner_text().startswith("M6: ")
    text = page.locator("#board tbody tr").first.inner_text()
    assert "✓ supported" in text
    assert "✗ contradicted" in text


@pytest.mark.parametrize("models", [("one",), ("llama-3-8b", "qwen2.5-7b", "phi-3", "smollm2")])
def test_one_model_and_four_fit_the_first_screen(chromium, tmp_path, models):
    file = tmp_path / "report.html"
    file.write_text(build_page(study(models)))
    many = Opened(chromium, file, viewport=DESKTOP)
    for selector in (".sentences li", "#board td", "#ladder td", ".legend"):
        assert all(inside(many.page, selector)), selector
    for selector in ("#board", "#ladder"):
        cut = "(s) => { const t = document.querySelector(s).parentElement;"
        assert many.page.evaluate(f"{cut} return t.scrollWidth <= t.clientWidth }}", selector)
    drawn(many.page, "M6-chart2")
    assert many.complaints == []
    many.context.close()


def test_nothing_scrolls_sideways_on_a_phone(chromium, path):
    phone = Opened(chromium, path, viewport=PHONE)
    drawn(phone.page, "M6-chart2")
    assert phone.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    phone.context.close()


def test_filters_leave_what_they_say(page):
    count = page.locator("#count")
    assert count.inner_text() == "48 of 48 matches"
    page.select_option("[name=agent]", f"two{HOSTILE}")
    assert count.inner_text() == "24 of 48 matches"
    page.select_option("[name=outcome]", "both took action 1")
    assert count.inner_text() == "12 of 48 matches"
    assert page.locator("#list tbody tr").count() == 12
    page.select_option("[name=other]", f"one{HOSTILE}")
    assert count.inner_text() == "0 of 48 matches"
    page.click("#filters button[type=reset]")
    page.wait_for_function("document.getElementById('count').textContent.startsWith('48')")
    page.click("#on")
    assert page.locator("#page").inner_text() == "page 2 of 3"
    page.click("#back")
    assert page.locator("#back").is_disabled()


def test_games_and_modes_are_filters_and_a_games_outcomes_have_its_words(page):
    count = page.locator("#count")
    outcomes = page.locator("[name=outcome] option")
    games = page.locator("[name=game] option").all_text_contents()
    assert set(games) == {"any", HOSTILE, f"{HOSTILE} (hunt)"}
    assert outcomes.all_text_contents()[1:] == [
        "row took action 1, column action 0", "both took action 1"
    ]  # fmt: skip
    page.select_option("[name=game]", "hunt")
    assert count.inner_text() == "24 of 48 matches"
    shown = page.locator("#list tbody td:first-child div:first-child").all_text_contents()
    assert set(shown) == {f"{HOSTILE} (hunt)"}
    assert outcomes.all_text_contents()[1:] == [
        f"row took hare{HOSTILE}, column stag{HOSTILE}", f"both took hare{HOSTILE}"
    ]  # fmt: skip
    page.select_option("[name=mode]", "cot")
    assert count.inner_text() == "12 of 48 matches"
    assert "(cot)" in page.locator("#list tbody td:nth-child(2)").first.inner_text()
    page.select_option("[name=mode]", f"direct{HOSTILE}")
    assert count.inner_text() == "12 of 48 matches"
    page.select_option("[name=outcome]", "1,1")
    assert count.inner_text() == "6 of 48 matches"
    page.select_option("[name=game]", "pd")
    assert count.inner_text() == "6 of 48 matches"
    assert outcomes.all_text_contents()[-1] == f"both took harm{HOSTILE}"
    page.click("#filters button[type=reset]")
    page.wait_for_function("document.getElementById('count').textContent.startsWith('48')")
    assert outcomes.all_text_contents()[-1] == "both took action 1"


def test_a_round_shows_what_was_seen_written_and_likely(page):
    second = page.locator("#list tbody tr").first.locator(".rounds button").nth(1)
    second.focus()
    page.keyboard.press("Enter")
    assert second.get_attribute("aria-pressed") == "true"
    panel = page.locator("#round")
    saw = panel.locator(".saw").inner_text()
    assert saw.startswith("You and another player play a game for several rounds.")
    assert "Round 1: you chose option" in saw
    assert "Round 2: do you choose option" in saw
    assert panel.locator(".wrote").inner_text().startswith("I think <script>alert(1)</script>")
    assert panel.locator(".bar").first.inner_text().split("\n")[-1] == "0.25"
    assert panel.locator("script, img").count() == 0


def test_whatever_others_wrote_is_shown_as_text_when_the_first_match_is_pressed(opened):
    page = opened.page
    first = page.locator("#list tbody tr").first
    first.locator(".rounds button").first.click()
    panel = page.locator("#round")
    plain = " ".join(HOSTILE.split())
    for where in (first.locator("td").nth(0), panel.locator(".bar span").first):
        assert plain in " ".join(where.inner_text().split())
    modes = page.locator("[name=mode] option").all_text_contents()
    assert f"direct{HOSTILE}" in modes
    for name in ("agent", "other", "game", "mode", "outcome"):
        assert page.locator(f"[name={name}] option").count() > 2
    said = " ".join(panel.inner_text().split())
    assert f"one{plain}" in said or f"two{plain}" in said
    assert f"Took J{plain}" in said or f"Took F{plain}" in said
    assert page.locator("#matches script, #matches img, #claims img").count() == 0
    assert opened.complaints == []


def test_a_charts_data_can_be_seen_and_taken(page):
    figure = drawn(page, "M6-chart2")
    figure.locator("[data-table]").click()
    assert figure.locator(".shown tbody tr").count() == 16
    figure.locator("[data-table]").click()
    assert figure.locator(".shown").count() == 0
    with page.expect_download() as waiting:
        figure.locator("[data-csv]").click()
    with open(waiting.value.path(), newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 16
    assert {row["model"] for row in rows} == {"one", "two"}


@pytest.mark.parametrize("sideways", [False, True], ids=["upright", "sideways"])
@pytest.mark.parametrize("name", ["M6-chart1", "M6-chart2"])
def test_shift_and_the_wheel_zoom_a_chart_and_a_double_click_takes_it_back(page, name, sideways):
    figure = drawn(page, name)
    before, top = labels_of(figure), page.evaluate("scrollY")
    assert zoom_changes_labels(page, figure, sideways)
    assert page.evaluate("scrollY") == top
    page.mouse.dblclick(*middle(figure))
    assert becomes(page, lambda: labels_of(figure) == before)


def test_light_and_dark_are_a_button(page):
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.click("#theme")
    assert page.evaluate(ground) != light
    assert page.get_attribute("#theme", "aria-pressed") == "true"
    assert serious(page, CHECKED, runOnly=["color-contrast"]) == []
    page.click("#theme")
    assert page.evaluate(ground) == light


def test_an_accessibility_checker_finds_nothing_serious(page):
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    drawn(page, "M6-chart2")
    assert serious(page, CHECKED) == []


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_comparison_loads_fits_and_can_be_used_by_all(chromium, tmp_path, viewport):
    file = tmp_path / "compare.html"
    file.write_text(build_comparison(two(), "Why?"))
    opened = Opened(chromium, file, viewport=viewport)
    page = opened.page
    assert page.locator("#changed tbody tr").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    page.click("#theme")
    assert page.get_attribute("#theme", "aria-pressed") == "true"
    assert serious(page, ["body"]) == []
    page.click("#theme")
    assert serious(page, ["body"]) == []
    assert opened.complaints == []
    assert opened.requests == [file.as_uri()]
    opened.context.close()


def test_on_paper_there_are_the_numbers_and_no_buttons(chromium, path):
    printed = Opened(chromium, path, viewport=DESKTOP, color_scheme="dark")
    printed.page.emulate_media(media="print", color_scheme="dark")
    assert printed.page.evaluate("getComputedStyle(document.body).backgroundColor") == (
        "rgb(255, 255, 255)"
    )
    assert printed.page.locator("#M6-one .numbers").first.is_visible()
    for selector in (".top nav", ".tools", "#browser"):
        assert not printed.page.locator(selector).first.is_visible(), selector
    printed.context.close()


def test_the_keyboard_reaches_all_that_can_be_pressed(chromium, path):
    typed = Opened(chromium, path, viewport=DESKTOP)
    page = typed.page
    page.evaluate(
        """window.stops = new Map();
        addEventListener("focusin", ({ target }) => {
            if (!stops.has(target)) stops.set(target, getComputedStyle(target).outlineStyle);
        });"""
    )
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    # Until it comes to no new element: it went through the page.
    reached = 0
    while (now := page.evaluate("stops.size")) > reached:
        reached = now
        for _ in range(25):
            page.keyboard.press("Tab")
    pressed = "button:enabled, select, summary, a[href], input"
    missed = page.evaluate(
        """(pressed) => [...document.querySelectorAll(pressed)]
            .filter((one) => one.checkVisibility() && !stops.has(one))
            .map((one) => one.outerHTML.slice(0, 200))""",
        pressed,
    )
    assert missed == []
    for selector in ("#theme", "#board a", "#ladder a", "summary", "[data-csv]", "select", "#on"):
        assert page.evaluate("(s) => stops.has(document.querySelector(s))", selector), selector
    assert "none" not in page.evaluate("[...stops.values()]")
    typed.context.close()


def test_nothing_hostile_ran(opened):
    """Last: after everything was opened, and was pressed."""
    assert opened.complaints == []
    assert len(opened.requests) <= 2  # the page, and the blob of the CSV


def test_without_javascript_there_are_pictures_and_all_numbers(chromium, path):
    plain = Opened(chromium, path, viewport=DESKTOP, java_script_enabled=False)
    assert plain.page.locator(".chart svg").first.is_visible()
    assert plain.page.locator("#M6-one .numbers").first.is_visible()
    assert plain.page.locator("noscript p").first.inner_text().startswith("Browsing them here")
    match = plain.page.locator("noscript details").first
    match.locator("summary").click()
    assert match.locator("tbody tr").first.is_visible()
    done = plain.page.locator("noscript details").last
    assert done.locator("summary").inner_text() == "What was done in 48 of 48 matches"
    done.locator("summary").click()
    assert done.locator("tbody tr").count() == 48
    assert done.locator("tbody tr").last.is_visible()
    plain.context.close()
