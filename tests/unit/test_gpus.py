"""What the driver says of the GPUs, as a job would see them."""

import pytest

import nashlens.gpus as module

SAID = """0, GPU-aaaa-1, 81559, 4, NVIDIA H100 80GB HBM3
1, GPU-bbbb-2, 81559, 60000, NVIDIA H100 80GB HBM3
2, GPU-cccc-3, 24564, 900, NVIDIA GeForce RTX 4090
"""


@pytest.fixture
def driver(monkeypatch, tmp_path):
    """A driver's program that answers with a table."""
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{SAID}END\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return program


@pytest.mark.parametrize(
    ("visible", "count"), [("", 0), ("-1", 0), ("0", 1), ("0,2", 2), ("1,-1,0", 1)]
)
def test_gpus_are_counted_as_torch_does(monkeypatch, visible, count):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert module.visible_gpus() == count


def test_the_drivers_table_is_read_in_mb(driver):
    gpus = module.read_gpus()
    assert [gpu.uuid for gpu in gpus] == ["GPU-aaaa-1", "GPU-bbbb-2", "GPU-cccc-3"]
    assert [gpu.name for gpu in gpus] == [gpu.uuid for gpu in gpus]
    assert gpus[2].kind == "NVIDIA GeForce RTX 4090"
    assert gpus[0].total == pytest.approx(0.98 * 81559 * 2**20 / 1e6, abs=1)
    assert gpus[1].used == pytest.approx(60000 * 2**20 / 1e6, abs=1)


@pytest.mark.parametrize(
    ("visible", "uuids"),
    [
        ("2,0", ["GPU-cccc-3", "GPU-aaaa-1"]),
        ("GPU-bbbb", ["GPU-bbbb-2"]),
        ("", []),
        # A slice of a GPU has memory of its own, which the table does not tell.
        ("0,MIG-1234", []),
        ("5", []),
    ],
)
def test_only_what_a_scheduler_gave_is_there_under_its_names(driver, monkeypatch, visible, uuids):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    gpus = module.read_gpus()
    assert [gpu.uuid for gpu in gpus] == uuids
    assert not gpus or [gpu.name for gpu in gpus] == visible.split(",")


@pytest.mark.parametrize(
    "program", ["exit 1", "echo 'No devices were found'", "echo 0, a, [N/A], 3, b"]
)
def test_a_driver_that_tells_nothing_is_no_gpu(driver, program):
    driver.write_text(f"#!/bin/sh\n{program}\n")
    assert module.read_gpus() == []
