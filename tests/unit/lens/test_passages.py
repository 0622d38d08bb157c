import pytest

from nashlens.errors import DataError
from nashlens.lens import passages


def test_another_text_is_noticed(monkeypatch):
    monkeypatch.setattr(passages, "CORPUS", "0" * 64)
    with pytest.raises(DataError, match="install nashlens again"):
        passages.corpus()
