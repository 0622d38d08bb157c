"""The table of claims in docs/explanation/verdicts.md, written from the claims.

python -m nashlens.findings.page --write docs/explanation/verdicts.md
"""

from __future__ import annotations

import argparse
from pathlib import Path

from nashlens.errors import DataError
from nashlens.findings.claims import ALL_CLAIMS

BEGIN, END = "<!-- begin: claims -->", "<!-- end: claims -->"
"""The table lies between these two lines of a page."""
HEADER = ("claim", "statement", "the paper says", "supported when", "contradicted when")


def claims_table() -> str:
    """Return all claims as a Markdown table, one row each."""
    rows = [HEADER, ("---",) * len(HEADER)]
    rows += [
        (claim.id, claim.statement, claim.paper, claim.supported, claim.contradicted)
        for claim in ALL_CLAIMS
    ]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def with_table(page: str) -> str:
    """Return a page with the table between its two marker lines.

    Raises
    ------
    DataError
        If the page lacks a marker.
    """
    before, begin, rest = page.partition(f"{BEGIN}\n")
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise DataError(f"the page has no place for the table: add the lines {BEGIN} and {END}")
    return f"{before}{begin}{claims_table()}{end}{after}"


def main() -> None:
    """Print the table, or write it into a page."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--write", type=Path, metavar="PAGE", help="a page with both markers")
    page = parser.parse_args().write
    if page is None:
        print(claims_table(), end="")
    else:
        page.write_text(with_table(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
