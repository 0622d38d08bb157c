"""Linear modules quantised by bitsandbytes on the device that their weights are on.

bitsandbytes quantises when weights move from the host to a GPU; these are on the GPU already.

On a CPU, nf4 products are computed here. The kernels of bitsandbytes 0.50.2 for processors with
AVX-512 scale weights wrongly where a row is not a whole number of blocks, and compute in bfloat16
whatever dtype is asked for: the same model would say one thing on one machine and another on the
next.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MethodType
from typing import Any

import torch
from torch.nn import functional as products

from nashlens.errors import ModelError


def quantised_linear(
    weights: Mapping[str, torch.Tensor], quantization: str, dtype: torch.dtype
) -> Any:
    """Return a quantised linear module.

    Parameters
    ----------
    weights : mapping
        `weight`, `(outputs, inputs)`, and perhaps `bias`, `(outputs,)`.
    quantization : {"int8", "nf4"}
        LLM.int8() (arXiv:2208.07339); or 4-bit NormalFloat with double quantisation
        (arXiv:2305.14314), computed in `dtype`.
    dtype : torch.dtype

    Returns
    -------
    bitsandbytes.nn.Linear8bitLt or bitsandbytes.nn.Linear4bit
        On the weights' device, in eval mode.

    Raises
    ------
    ModelError
        If the quantization is another one.
    """
    from bitsandbytes import functional, nn

    weight = weights["weight"]
    outputs, inputs = weight.shape
    size = {"input_features": inputs, "output_features": outputs, "bias": "bias" in weights}
    module: Any
    if quantization == "nf4":
        module = nn.Linear4bit(
            **size, compute_dtype=dtype, compress_statistics=True, quant_type="nf4", device="meta"
        )
        original: Any = nn.Params4bit(
            weight, requires_grad=False, compress_statistics=True, quant_type="nf4", module=module
        )
        module.weight = original.to(weight.device)
    elif quantization == "int8":
        module = nn.Linear8bitLt(**size, has_fp16_weights=False, threshold=6.0, device="meta")
        values, scales, _ = functional.int8_vectorwise_quant(weight.half())
        module.weight = nn.Int8Params(
            values, requires_grad=False, has_fp16_weights=False, CB=values, SCB=scales
        )
    else:
        raise ModelError(f"quantization {quantization!r} is not int8 or nf4")
    if "bias" in weights:
        module.bias = torch.nn.Parameter(weights["bias"], requires_grad=False)
    compute_on_cpu(module)
    return module.eval()


def dequantised_weights(module: Any) -> torch.Tensor:
    """Return the weights that an nf4 module on a CPU represents, `(outputs, inputs)` float32.

    Each is a value of the 4-bit code times its block's scale (arXiv:2305.14314), the scales being
    values of an 8-bit code times scales of their own plus an offset.
    """
    state = module.weight.quant_state
    packed = module.weight.data.flatten()
    index = torch.stack((packed >> 4, packed & 15), dim=1).flatten()[: state.shape.numel()]
    scales = state.absmax
    if state.nested:
        inner = state.state2
        blocks = torch.arange(len(scales)) // inner.blocksize
        scales = inner.code[scales.long()] * inner.absmax[blocks] + state.offset
    blocks = torch.arange(len(index)) // state.blocksize
    values: torch.Tensor = state.code[index.long()] * scales[blocks]
    return values.float().view(state.shape)


def compute_on_cpu(model: torch.nn.Module) -> None:
    """Let every nf4 product of a model that is on a CPU compute with its `dequantised_weights`."""
    for module in model.modules():
        if type(module).__name__ == "Linear4bit" and module.weight.device.type == "cpu":
            module.forward = MethodType(_forward, module)


def _forward(module: Any, x: torch.Tensor) -> torch.Tensor:
    dtype = module.compute_dtype or x.dtype
    bias = None if module.bias is None else module.bias.to(dtype)
    return products.linear(x.to(dtype), dequantised_weights(module).to(dtype), bias).to(x.dtype)
