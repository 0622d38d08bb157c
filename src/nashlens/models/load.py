"""Loading a converted model with torch, on a CPU or GPUs, quantised or not."""

from __future__ import annotations

import contextlib
import gc
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nashlens.errors import ModelError, printable
from nashlens.models.inspect import read_config
from nashlens.models.intact import check_files
from nashlens.models.loaded import LoadedModel
from nashlens.models.manifest import CONVERT_AGAIN
from nashlens.models.registry import ARCHITECTURES, supported
from nashlens.models.shapes import SHAPE, find_shape

if TYPE_CHECKING:
    import torch

QUANTIZATIONS = ("none", "int8", "nf4")


def quantization_problem(quantization: str, device: str) -> str | None:
    """Say why a device cannot run a quantization, before anything is loaded.

    Parameters
    ----------
    quantization : {"none", "int8", "nf4"}
        As in the config.
    device : str
        auto, cpu, cuda or cuda:N.

    Returns
    -------
    str or None
        One line, or None where nothing is known to be in the way.
    """
    if quantization == "none":
        return None
    if quantization not in QUANTIZATIONS:
        return f"quantization {quantization!r} is not one of {', '.join(QUANTIZATIONS)}"
    try:
        import bitsandbytes  # noqa: F401
    except Exception as error:  # its native library can fail in many ways
        reason = str(error).strip().splitlines() or [type(error).__name__]
        return (
            f"quantization {quantization} needs bitsandbytes, which does not load here "
            f"({reason[0]}): reinstall it, or set quantization: none"
        )
    import torch

    if quantization == "int8" and device != "cpu" and torch.cuda.is_available():
        # bitsandbytes' LLM.int8() needs the tensor cores of Turing or newer.
        capability = torch.cuda.get_device_capability(device if ":" in device else 0)
        if capability < (7, 5):
            return (
                f"quantization int8 needs a GPU of compute capability 7.5, and this one has "
                f"{capability[0]}.{capability[1]}: set quantization: nf4 or none"
            )
    return None


def read_supported_config(folder: Path) -> dict[str, Any]:
    """Read a converted model's config.json; ModelError where its architecture is not supported."""
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder}: no config.json; convert the model's source into it first")
    stored = read_config(folder)
    name = (stored.get("architectures") or ["(none)"])[0]
    if name not in ARCHITECTURES:
        shown = printable(str(name))
        raise ModelError(f"{folder}: architecture {shown} is not supported: use {supported()}")
    return stored


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    # Loading is mostly importing, which makes half a million objects that all stay. Looking
    # through them for garbage, again and again, takes a tenth of a job's start.
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@_no_collection()
def load_model(
    folder: Path | str,
    *,
    dtype: str = "auto",
    quantization: str = "none",
    device: str = "auto",
    parallel: str = "none",
    threads: int | None = None,
    native: bool = True,
) -> LoadedModel:
    """Load a model from a folder that `nashlens.models.convert` wrote.

    Parameters
    ----------
    folder : path
        Hugging Face layout: config.json and safetensors. Nothing is downloaded.
    dtype : {"auto", "float32", "bfloat16", "float16"}
        auto is bfloat16 on a GPU and float32 on a CPU (bfloat16 products are some 20 times slower
        on CPUs without AVX-512).
    quantization : {"none", "int8", "nf4"}
        Through bitsandbytes; the unembedding stays unquantised. int8 is LLM.int8()
        (arXiv:2208.07339), nf4 is QLoRA's 4-bit NormalFloat with double quantisation
        (arXiv:2305.14314), computed in `dtype`.
    device : str
        auto (a GPU where there is one), cpu, cuda or cuda:N.
    parallel : {"none", "pipeline", "tensor"}
        pipeline spreads the blocks over all visible GPUs; tensor splits each block over them.
    threads : int, optional
        CPU threads of torch.
    native : bool, default True
        Whether modules of our own are used where they suffice (`nashlens.models.native`), which
        saves the import of transformers. They have no forward of their own.

    Returns
    -------
    LoadedModel

    Raises
    ------
    ModelError
        The folder is not a converted model, a file of it is damaged, its weights are incomplete, or
        the device cannot do it.
    """
    folder = Path(folder)
    check_files(folder)
    stored = read_supported_config(folder)
    problem = quantization_problem(quantization, device)
    if problem:
        raise ModelError(f"{folder}: {problem}")
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    if parallel == "tensor" and quantization != "none":
        raise ModelError(
            f"{folder}: parallel: tensor cannot split weights quantised to {quantization}: "
            "set quantization: none, or parallel: none or pipeline"
        )
    target = target_device(folder, device, parallel)
    torch_dtype = target_dtype(dtype, target)
    if SHAPE in stored:
        from nashlens.models.random_weights import ENDS, build_random

        return build_random(
            find_shape(stored[SHAPE]),
            devices=[target] if parallel == "none" else _gpus(),
            dtype=torch_dtype,
            quantization=quantization,
            parallel=parallel,
            name=folder.resolve().name,
            ends=folder / ENDS,
            native=native,
        )
    from nashlens.models.native import native_config, read_native

    values = native_config(stored) if native and quantization == parallel == "none" else None
    if values is not None:
        model: Any = read_native(folder, values, target, torch_dtype)
    else:
        from transformers import AutoConfig

        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        if parallel == "tensor":
            from nashlens.models.sharded import read_shards

            shards = read_shards(folder, config, _gpus(), torch_dtype)
            return LoadedModel.from_modules(
                None, name=folder.resolve().name, dtype=torch_dtype, shards=shards
            )
        spread: Any = "auto" if parallel == "pipeline" else {"": target}
        model = _from_transformers(folder, config, torch_dtype, quantization, spread)
    return LoadedModel.from_modules(
        model, name=folder.resolve().name, dtype=torch_dtype, quantization=quantization
    )


def _from_transformers(
    folder: Path, config: Any, dtype: torch.dtype, quantization: str, device_map: Any
) -> Any:
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging as hf_logging

    if not sys.stderr.isatty():
        # A job's log cannot show a bar.
        hf_logging.disable_progress_bar()
    softcap = ARCHITECTURES[config.architectures[0]].attention_softcap
    auto: Any = AutoModelForCausalLM  # its annotations do not know output_loading_info
    model, info = auto.from_pretrained(
        folder,
        config=config,
        dtype=dtype,
        quantization_config=_quantization_config(quantization, dtype),
        device_map=device_map,
        # The model's own forward, the engine's oracle: sdpa has no place for a soft-cap.
        attn_implementation="eager" if softcap else "sdpa",
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
        output_loading_info=True,
    )
    # transformers only warns of these, and fills missing weights with random numbers.
    missing = sorted(info["missing_keys"]) + sorted(str(key) for key in info["mismatched_keys"])
    if missing:
        raise ModelError(
            f"{folder}: the weights lack {missing[0]} and {len(missing) - 1} more: {CONVERT_AGAIN}"
        )
    if quantization == "nf4":
        from nashlens.models.quantise import compute_on_cpu

        compute_on_cpu(model)
    return model.eval().requires_grad_(False)


def _gpus() -> list[torch.device]:
    import torch

    return [torch.device("cuda", i) for i in range(torch.cuda.device_count())]


def target_device(folder: Path, device: str, parallel: str) -> torch.device:
    """Return the device that a config's `device` and `parallel` mean here, or raise ModelError."""
    import torch

    available = torch.cuda.is_available()
    if device == "auto":
        device = "cuda" if available else "cpu"
    if device.startswith("cuda") and not available:
        raise ModelError(
            f"{folder}: device {device}, but torch sees no GPU: set device: cpu or auto"
        )
    if parallel in ("pipeline", "tensor"):
        if device == "cpu":
            raise ModelError(f"{folder}: parallel: {parallel} needs GPUs: set parallel: none")
        if ":" in device:
            raise ModelError(
                f"{folder}: parallel: {parallel} uses all GPUs: set device: cuda or auto"
            )
    elif parallel != "none":
        raise ModelError(f"{folder}: parallel is {parallel!r}, not none, pipeline or tensor")
    found = torch.device(device if ":" in device or device == "cpu" else f"{device}:0")
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise ModelError(f"{folder}: device {device}, but there are {torch.cuda.device_count()}")
    return found


def target_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """Return the dtype that a config's `dtype` means on a device, or raise ModelError."""
    import torch

    if dtype == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    found = {
        "float32": torch.float32,
        "bfloat16": torch.bfloat16,
        "float16": torch.float16,
    }.get(dtype)
    if found is None:
        raise ModelError(f"dtype {dtype!r} is not one of auto, float32, bfloat16, float16")
    return found


def _quantization_config(quantization: str, dtype: torch.dtype) -> Any:
    if quantization == "none":
        return None
    from transformers import BitsAndBytesConfig

    if quantization == "int8":
        # It warns at every product that LLM.int8() works in float16, which is what was asked for.
        logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
        return BitsAndBytesConfig(load_in_8bit=True)
    # The library's own default is fp4.
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
