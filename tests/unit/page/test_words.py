"""Numbers and texts as the page writes them."""

import pandas as pd

from nashlens.page.words import DASH, MINUS, number, rich


def test_numbers_are_written_as_people_read_them():
    said = [0.5, 0.0625, 12.345, 3.0, -0.25, 1e-5, float("nan"), float("inf"), True, 123456.0]
    shown = ["0.50", "0.0625", "12.3", "3", "M0.25", "1eM05", DASH, "∞", "yes", "1.2e+05"]
    assert [number(value) for value in said] == [text.replace("M", MINUS) for text in shown]
    assert number(pd.NA) == DASH


def test_marked_up_texts_are_escaped_too():
    assert rich("*so* `<b>` <i>") == "<em>so</em> <code>&lt;b&gt;</code> &lt;i&gt;"
