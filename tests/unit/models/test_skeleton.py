"""Weights on their way from a file to a device."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from nashlens.errors import ModelError
from nashlens.models import skeleton
from nashlens.models.skeleton import read_weight
from nashlens.models.tensor_files import read_entries

CPU = torch.device("cpu")
TYPES = (torch.float32, torch.float16, torch.bfloat16)


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """Weights of each type, which are read in pieces of a few rows."""
    monkeypatch.setattr(skeleton, "PIECE", 64)
    torch.manual_seed(0)
    drawn = {f"{kind}": torch.randn(13, 6).to(kind) for kind in TYPES}
    drawn |= {"bias": torch.randn(13), "none": torch.empty(0, 6)}
    save_file(drawn, tmp_path / "model.safetensors")
    return drawn, read_entries(tmp_path / "model.safetensors")


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("part", [None, (0, 2, 9), (1, 1, 5), (0, 0, 13)])
def test_a_weight_comes_in_pieces_as_it_would_as_a_whole(stored, dtype, part):
    drawn, entries = stored
    for kind in map(str, TYPES):
        axis, first, end = part or (0, 0, 13)
        wanted = drawn[kind].narrow(axis, first, end - first).to(dtype)
        assert torch.equal(read_weight(entries[kind], CPU, dtype, part), wanted)


def test_weights_of_one_axis_and_of_none(stored):
    drawn, entries = stored
    assert torch.equal(read_weight(entries["bias"], CPU, torch.bfloat16), drawn["bias"].bfloat16())
    assert torch.equal(
        read_weight(entries["bias"], CPU, torch.float32, (0, 3, 5)), drawn["bias"][3:5]
    )
    assert read_weight(entries["none"], CPU, torch.float32).shape == (0, 6)


def test_as_it_is_stored_it_is_the_file_itself(stored, monkeypatch):
    monkeypatch.setattr(np, "fromfile", None)
    drawn, entries = stored
    assert torch.equal(
        read_weight(entries["torch.bfloat16"], CPU, torch.bfloat16), drawn["torch.bfloat16"]
    )


def test_a_file_that_was_cut_since_is_named(stored):
    _, entries = stored
    entry = entries["torch.float32"]
    with open(entry.file, "r+b") as file:
        file.truncate(entry.offset + 40)
    with pytest.raises(ModelError, match=r"model.safetensors: it ends inside a weight"):
        read_weight(entry, CPU, torch.bfloat16)
