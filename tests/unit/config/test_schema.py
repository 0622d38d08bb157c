from __future__ import annotations

import typing
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from pydantic import BaseModel

from nashlens.config import schema
from nashlens.config.sections import Config

from .conftest import ROOT, load

OVERLAYS = sorted(f"experiments/{path.name}" for path in (ROOT / "experiments").glob("*.yaml"))
FILE = ROOT / "workflow/schemas/config.schema.json"


def _sections(hint: Any) -> Iterator[type[BaseModel]]:
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        yield hint
        for field in hint.model_fields.values():
            yield from _sections(field.annotation)
    for inner in typing.get_args(hint):
        yield from _sections(inner)


def test_the_file_is_current():
    assert FILE.read_text(encoding="utf-8") == schema.schema_text()
    assert schema.main(["--check", str(FILE)]) == 0


def test_check_tells_an_old_file(tmp_path, capsys):
    old = tmp_path / "old.json"
    old.write_text("{}")
    assert schema.main(["--check", str(old)]) == 1
    assert "not the current schema" in capsys.readouterr().err
    assert schema.main(["--write", str(old)]) == 0
    assert schema.main(["--check", str(old)]) == 0


@pytest.mark.parametrize(
    "section", list(dict.fromkeys(_sections(Config))), ids=lambda s: s.__name__
)
def test_every_key_is_described(section: type[BaseModel]):
    assert section.__doc__
    for name, field in section.model_fields.items():
        assert field.description, f"{section.__name__}.{name}"
        assert field.description.endswith("."), f"{section.__name__}.{name}"
        assert "\n" not in field.description, f"{section.__name__}.{name}"


def test_every_key_of_the_schema_is_described():
    tree = schema.config_schema()
    for section in (tree, *tree["$defs"].values()):
        for name, entry in section["properties"].items():
            assert "description" in entry or "$ref" in entry, name


def test_bounds_reach_the_schema():
    definitions = schema.config_schema()["$defs"]
    assert definitions["ProbesConfig"]["properties"]["folds"]["minimum"] == 2
    assert definitions["ProbesConfig"]["properties"]["C"]["items"]["maximum"] == 1e6
    width = definitions["FigureStyleConfig"]["properties"]["width"]
    assert width["anyOf"][0]["exclusiveMinimum"] == 1


@pytest.mark.parametrize("name", ["config.yaml", *OVERLAYS])
def test_configs_fit_the_schema(name: str):
    jsonschema.Draft202012Validator(schema.config_schema()).validate(load(name))


def test_the_schema_refuses_unknown_keys():
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema.config_schema()).validate({"probes": {"fold": 3}})
