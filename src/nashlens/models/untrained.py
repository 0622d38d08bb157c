"""A converted model's architecture with random weights: what training has nothing to do with."""

from __future__ import annotations

from pathlib import Path

from nashlens.models.load import read_supported_config, target_device, target_dtype
from nashlens.models.loaded import LoadedModel
from nashlens.seeds import stream


def load_untrained(
    folder: Path | str,
    *,
    seed: int,
    dtype: str = "auto",
    device: str = "auto",
    threads: int | None = None,
) -> LoadedModel:
    """Build a model from a converted folder's config.json, its weights drawn at random.

    They are drawn by the architecture's own initialisation, as before training: normal with the
    deviation that the config names (`initializer_range`), norms 1 and biases 0, tied where the
    model's are. The weights of the folder are not read.

    Parameters
    ----------
    folder : path
        Of a converted model. Its name and the seed name the random stream; a CPU and a GPU draw
        different weights from it.
    seed : int
        The experiment's seed.
    dtype, device, threads
        As in `nashlens.models.load.load_model`.

    Returns
    -------
    LoadedModel
        Unquantised, on one device.

    Raises
    ------
    ModelError
        The folder is not a converted model, or the device cannot do it.
    """
    folder = Path(folder)
    read_supported_config(folder)
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    if threads is not None:
        torch.set_num_threads(threads)
    target = target_device(folder, device, "none")
    torch_dtype = target_dtype(dtype, target)
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    draw = int(stream(seed, "untrained", folder.resolve().name).integers(2**62))
    cuda = [target] if target.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda), torch.device(target):
        torch.manual_seed(draw)
        model = AutoModelForCausalLM.from_config(
            config, dtype=torch_dtype, attn_implementation="sdpa", trust_remote_code=False
        )
    model.eval().requires_grad_(False)
    return LoadedModel.from_modules(model, name=folder.resolve().name, dtype=torch_dtype)
