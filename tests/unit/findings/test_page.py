from pathlib import Path

import pytest

from nashlens.errors import DataError
from nashlens.findings import ALL_CLAIMS
from nashlens.findings.page import BEGIN, END, HEADER, claims_table, with_table

PAGE = Path(__file__).parents[3] / "docs" / "explanation" / "verdicts.md"


def test_the_page_has_the_table_of_the_claims():
    page = PAGE.read_text(encoding="utf-8")
    remedy = f"python -m nashlens.findings.page --write {PAGE.name}"
    assert page == with_table(page), f"write it anew: {remedy}"


def test_every_claim_is_one_row_and_says_when_it_is_supported_and_contradicted():
    _, _, *rows = claims_table().splitlines()
    cells = [row.strip("| ").split(" | ") for row in rows]
    assert [row[0] for row in cells] == [claim.id for claim in ALL_CLAIMS]
    assert {len(row) for row in cells} == {len(HEADER)}
    assert all(claim.supported and claim.contradicted for claim in ALL_CLAIMS)


def test_only_what_lies_between_the_markers_is_replaced():
    page = with_table(f"one\n{BEGIN}\nold\n{END}\ntwo\n")
    assert page == f"one\n{BEGIN}\n{claims_table()}{END}\ntwo\n"
    with pytest.raises(DataError, match="no place for the table"):
        with_table(f"one\n{BEGIN}\ntwo\n")
