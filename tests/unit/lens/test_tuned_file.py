import numpy as np
import pytest
from safetensors.numpy import save

from nashlens.chunks import keeping
from nashlens.errors import ModelError
from nashlens.lens import tuned_file
from nashlens.lens.tuned_file import VERSION, TunedLens, read_tuned_lens, writing_tuned_lens

LAYERS, WIDTH = 3, 5


@pytest.fixture
def lens():
    rng = np.random.default_rng(0)
    matrices = rng.normal(size=(LAYERS, WIDTH, WIDTH)).astype(np.float16)
    return TunedLens(matrices, rng.normal(size=(LAYERS, WIDTH)).astype(np.float32))


def write(path, lens, layers=(2, 0, 1)):
    """Write a lens in some order; return its layers' digests."""
    with writing_tuned_lens(path, LAYERS, WIDTH) as file:
        digests = {layer: file.write(layer, lens.matrices[layer]) for layer in layers}
        file.biases[:] = lens.biases
    return digests


def test_it_is_the_file_that_the_library_would_write(tmp_path, lens):
    write(tmp_path / "m.safetensors", lens)
    tensors = {"matrices": np.asarray(lens.matrices), "biases": lens.biases}
    whole = save(tensors, metadata={"version": str(VERSION)})
    assert (tmp_path / "m.safetensors").read_bytes() == whole
    assert len(list(tmp_path.iterdir())) == 1


def test_it_is_read_back_and_a_wrong_one_refused(tmp_path, lens, monkeypatch):
    path = tmp_path / "m.safetensors"
    write(path, lens)
    read, x = read_tuned_lens(path), np.ones((2, WIDTH), np.float32)
    np.testing.assert_array_equal(read.matrices, lens.matrices)
    np.testing.assert_array_equal(read.translate(0, x), lens.translate(0, x))
    monkeypatch.setattr(tuned_file, "VERSION", 2)
    with pytest.raises(ModelError, match="version 1 of a tuned lens"):
        read_tuned_lens(path)
    path.write_bytes(b"no")
    with pytest.raises(ModelError, match="no readable tuned lens"):
        read_tuned_lens(path)


def test_without_an_end_there_is_no_file(tmp_path, lens):
    def broken():
        with writing_tuned_lens(tmp_path / "m.safetensors", LAYERS, WIDTH) as file:
            file.write(0, lens.matrices[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken()
    assert list(tmp_path.iterdir()) == []


def test_a_job_that_goes_on_finds_its_layers_and_sees_what_is_damaged(tmp_path, lens):
    path = tmp_path / "m.safetensors"
    digests = {}

    def dies():
        with (
            keeping(tmp_path / "kept", "f" * 64),
            writing_tuned_lens(path, LAYERS, WIDTH) as file,
        ):
            digests.update({k: file.write(k, lens.matrices[k]) for k in (0, 1)})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dies()
    assert not path.exists()
    (grown,) = tmp_path.glob("kept/*/m.safetensors")
    with open(grown, "r+b") as file:
        file.seek(-1, 2)
        file.write(b"x")
    with keeping(tmp_path / "kept", "f" * 64):
        with writing_tuned_lens(path, LAYERS, WIDTH) as file:
            assert [file.holds(k, digests[k]) for k in (0, 1)] == [True, False]
            assert not file.holds(2, digests[1])
            for layer in (1, 2):
                file.write(layer, lens.matrices[layer])
            file.biases[:] = lens.biases
        # On disk once, and still there for a job that dies before its last output.
        assert path.samefile(grown)
    assert list(tmp_path.iterdir()) == [path]
    np.testing.assert_array_equal(read_tuned_lens(path).matrices, lens.matrices)


def test_a_disk_without_links_has_the_same_file(tmp_path, lens, monkeypatch):
    write(tmp_path / "m.safetensors", lens)

    def refused(*given):
        raise PermissionError("no links here")

    monkeypatch.setattr("os.link", refused)
    with keeping(tmp_path / "kept", "f" * 64):
        write(tmp_path / "again.safetensors", lens)
    first, again = (tmp_path / f"{name}.safetensors" for name in ("m", "again"))
    assert again.read_bytes() == first.read_bytes()
    assert sorted(tmp_path.iterdir()) == [again, first]
