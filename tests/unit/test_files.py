import pytest

from nashlens.errors import StoreError
from nashlens.files import atomic_write, read_json, sha256_of, write_json


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "deep" / "file"
    with atomic_write(path) as file:
        file.write(b"old")

    def half():
        with atomic_write(path) as file:
            file.write(b"half of the ne")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half()
    assert path.read_bytes() == b"old"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_json_round_trip_and_its_refusals(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"b": [1, None], "a": "ü"})
    assert read_json(path) == {"a": "ü", "b": [1, None]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, float("nan"))
    with pytest.raises(StoreError, match=r"none\.json: no such file"):
        read_json(tmp_path / "none.json")
    path.write_text("{")
    with pytest.raises(StoreError, match="not readable JSON"):
        read_json(path)


def test_sha256(tmp_path):
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    assert sha256_of(path).startswith("ba7816bf8f01cfea")
