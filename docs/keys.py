"""Write docs/reference/config.md: every key of the config, from the models, config.yaml and rules.

    python -m docs.keys

Types, bounds and defaults are those of the config models. What a key does is its comment in
`config.yaml` or, where it has none of its own, the description of its field. Which rules read it is
what they declare in `params:`.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nashlens.config.schema import config_schema
from workflow.loading import load_workflow
from workflow.provenance import Provenance

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reference" / "config.md"
NAMED = ("models", "games", "agents")
"""Sections of named entries, of which the page says NAME."""
BEGIN, END = "<!-- begin: keys -->", "<!-- end: keys -->"
"""What is written lies between these two lines of the page."""
PATTERNS = {
    "embedding|": "path",
    "system|opening": "token group",
    "decision|options": "position",
    "cuda": "device",
}
"""A part of a text's pattern -> what such texts are called."""


def keys(
    schema: Mapping[str, Any], section: Mapping[str, Any], above: str = ""
) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """Yield (dotted key, its schema, whether it is a section) in the order of the models."""
    for name, entry in section["properties"].items():
        key = f"{above}{name}"
        inside = _section(schema, entry)
        yield key, entry, inside is not None
        if inside is not None:
            key += ".NAME" if "additionalProperties" in entry else ""
            yield from keys(schema, inside, f"{key}.")


def _section(schema: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, Any] | None:
    inner = entry.get("additionalProperties", entry)
    for kind in (inner, *inner.get("anyOf", [])):
        if "$ref" in kind:
            return dict(schema["$defs"][kind["$ref"].rsplit("/", 1)[1]])
    return None


def kind_of(entry: Mapping[str, Any]) -> str:
    """Return what values a key takes, in words."""
    if "anyOf" in entry:
        return " or ".join(kind_of(kind) for kind in entry["anyOf"])
    if "enum" in entry:
        return " or ".join(f"`{value}`" for value in entry["enum"])
    if "const" in entry:
        return f"`{entry['const']}`"
    if entry.get("type") == "array":
        pair = "pair" if entry.get("maxItems") == 2 else "list"
        return f"{pair} of {kind_of(entry['items'])}"
    if entry.get("type") == "object":
        return f"names, each with {kind_of(entry['additionalProperties'])}"
    if "pattern" in entry:
        return next(word for part, word in PATTERNS.items() if part in entry["pattern"])
    words = {"string": "text", "integer": "whole number", "boolean": "`true` or `false`"}
    return words.get(entry["type"], entry["type"]) + _bounds(entry)


def _bounds(entry: Mapping[str, Any]) -> str:
    low, high = entry.get("minimum"), entry.get("maximum")
    above, below = entry.get("exclusiveMinimum"), entry.get("exclusiveMaximum")
    words = [
        *([f"from {low}"] if low is not None else []),
        *([f"above {above}"] if above is not None else []),
        *([f"to {high}"] if high is not None else []),
        *([f"below {below}"] if below is not None else []),
    ]
    return f" {' '.join(words)}" if words else ""


def comments(text: str) -> dict[str, str]:
    """Return the comment above each key of a YAML file, as written; of entries the first one's."""
    found: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    lines: list[str] = []
    for line in text.splitlines():
        if re.match(r" *#", line):
            lines.append(line.strip().removeprefix("#").removeprefix(" "))
            continue
        if key := re.match(r"( *)([\w.]+):", line):
            depth = len(key[1])
            above = [(d, name) for d, name in above if d < depth]
            entry = len(above) == 1 and above[0][1] in NAMED
            above.append((depth, "NAME" if entry else key[2]))
            found.setdefault(".".join(name for _, name in above), "\n".join(lines))
        lines = []
    return {key: comment for key, comment in found.items() if comment}


def readers(provenance: Provenance) -> dict[str, list[str]]:
    """Return the keys that rules declare, with NAME for a named entry -> the rules."""
    found: dict[str, list[str]] = {}
    for rule, stage in provenance.stages.items():
        reads = {key for own in (stage, *stage.pieces.values()) for key in own.reads}
        for key in reads:
            named = re.sub(r"{(model|agent|steered|game)}", "NAME", key).replace(".{mode}", "")
            named = re.sub(r"^(figures\.styles)\.\w+$", r"\1", named)
            found.setdefault(named, []).append(rule)
    return found


def read_by(key: str, reads: Mapping[str, list[str]]) -> str:
    """Return a sentence on the rules that read a key."""
    rules = {
        rule for read, some in reads.items() if f"{key}.".startswith(f"{read}.") for rule in some
    }
    drawing = sorted(rule for rule in rules if rule.startswith("draw_"))
    names = sorted(rules - set(drawing)) + (["draw_*"] if len(drawing) > 3 else drawing)
    return f"Read by {', '.join(f'`{name}`' for name in names)}." if names else "Read by no rule."


def write_page(page: str, provenance: Provenance) -> str:
    """Return the page with its list of keys written anew."""
    schema = config_schema()
    said = comments((ROOT / "config.yaml").read_text(encoding="utf-8"))
    reads = readers(provenance)
    parts = []
    for key, entry, is_section in keys(schema, schema):
        parts.append(f"{'#' * (3 if '.' in key else 2)} `{key}`\n")
        if not is_section:
            default = "no default"
            if "default" in entry:
                default = f"default `{json.dumps(entry['default'], ensure_ascii=False)}`"
            parts.append(f"*{_upper(kind_of(entry))}; {default}.* {read_by(key, reads)}\n")
        inside = _section(schema, entry) or {}
        text = said.get(key) or entry.get("description") or inside.get("description", "")
        # What is laid out by hand stays so.
        laid_out = re.search(r"^ {2}", text, re.MULTILINE)
        parts.append(f"```text\n{text}\n```\n" if laid_out else f"{_filled(text)}\n")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return "\n".join([f"{before}{BEGIN}\n", *parts, f"{END}{after}"])


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _filled(text: str) -> str:
    words = " ".join(text.split())
    return textwrap.fill(words, 120, break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    text = write_page(PAGE.read_text(encoding="utf-8"), load_workflow(ROOT)[1])
    PAGE.write_text(text, encoding="utf-8")
