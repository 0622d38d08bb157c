"""From what the page says to its text: templates, with everything escaped, and nothing fetched."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from nashlens import __version__
from nashlens.page import board, words
from nashlens.page.charts import charts_of
from nashlens.page.matches import browse
from nashlens.page.samples import lines, samples
from nashlens.page.sections import sections
from nashlens.page.study import StudyTables

TEMPLATES = "templates"
_IN_SCRIPTS = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}
"""Letters that could end a script or start a comment -> how JSON writes them as well."""


def build_page(study: StudyTables) -> str:
    """Return the page of an experiment: one HTML text that needs no other file and no network.

    Parameters
    ----------
    study : StudyTables

    Returns
    -------
    str
        HTML. Everything that a model, a user or a config wrote is escaped.
    """
    columns, rows = board.board(study)
    rungs, ladder = board.ladder(study)
    browser = browse(study)
    charts = {claim: charts_of(study, claim) for claim in dict.fromkeys(study.findings["claim"])}
    return fill_template(
        "report.html.j2",
        study=study,
        question=board.QUESTION,
        headline=board.HEADLINE,
        sentences=board.sentences(study),
        columns=columns,
        rows=rows,
        rungs=rungs,
        ladder=ladder,
        no_ladder=board.no_ladder(study),
        sections=sections(study),
        charts=charts,
        browser=browser,
        samples=samples(browser.data),
        match_lines=lines(browser.data),
        sources=study.sources,
    )


def fill_template(template: str, **values: Any) -> str:
    """Return a template of this package, filled in."""
    return _environment().get_template(template).render(**values)


def as_json(value: Any) -> Markup:
    """Return JSON that can stand in a script element, whatever its texts hold."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # The two separators end a line in old JavaScript.
    for letter, code in {**_IN_SCRIPTS, "\u2028": "\\u2028", "\u2029": "\\u2029"}.items():
        text = text.replace(letter, code)
    return Markup(text)


@cache
def bundle() -> Markup:
    """Return Vega, Vega-Lite and vega-embed as one script, which defines `vegaEmbed`."""
    # Its stub asks for the snippet that may be left out.
    script: str = vl_convert.javascript_bundle()  # type: ignore[call-arg]
    # In a string of JavaScript the two are the same, and only the first ends the element.
    return Markup(script.replace("</script", "<\\/script").replace("<!--", "\\x3c!--"))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("nashlens.page", TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "json": as_json,
        "rich": words.rich,
        "number": words.number,
        "slug": words.slug,
    }
    environment.globals |= {
        "version": __version__,
        "verdicts": words.VERDICTS,
        "signs": words.SIGNS,
        "bundle": bundle,
        "own": _own,
        "svg": Markup,
    }
    return environment


def _own(name: str) -> Markup:
    """Return a style sheet or script of this package as it is."""
    return Markup(files("nashlens.page").joinpath(TEMPLATES, name).read_text(encoding="utf-8"))
