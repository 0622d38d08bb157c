import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nashlens.errors import StoreError
from nashlens.files import (
    atomic_write,
    read_json,
    read_sealed,
    sha256_of,
    write_json,
    write_sealed,
)


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


def test_a_sealed_value_comes_back(tmp_path):
    path = tmp_path / "new" / "value.json"
    assert read_sealed(path) is None
    value = {"ids": ["a", "b"], "n": 3, "share": 0.1, "none": None}
    write_sealed(path, value)
    assert read_sealed(path) == value


@given(at=st.integers(0, 10**6), bit=st.integers(0, 7))
@settings(deadline=None)
def test_a_sealed_value_with_another_bit_is_none(tmp_path_factory, at, bit):
    path = tmp_path_factory.getbasetemp() / "sealed.json"
    write_sealed(path, {"ids": ["4ae02ec6", "02243e1f"], "present": "0101"})
    content = bytearray(path.read_bytes())
    content[at % len(content)] ^= 1 << bit
    path.write_bytes(content)
    assert read_sealed(path) is None


@pytest.mark.parametrize("text", ["", "[1]", "{}", '{"value": 1}', '{"sha256": 1, "value": 1}'])
def test_what_was_not_sealed_is_none(tmp_path, text):
    path = tmp_path / "value.json"
    path.write_text(text)
    assert read_sealed(path) is None
