"""One product's weights, quantised by bitsandbytes on the device that they are on.

bitsandbytes quantises when weights move from the host to a GPU; these are on the GPU already.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from nashlens.errors import ModelError


def quantised(weights: Mapping[str, torch.Tensor], quantization: str, dtype: torch.dtype) -> Any:
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
    return module.eval()
