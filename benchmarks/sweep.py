"""A steering sweep over layers and alphas at the last position, against one hooked forward each.

The peer does as steering scripts do: for every layer and alpha, a hook on that layer adds a vector
at the last position of a left-padded batch, and the whole model runs again. Its time grows by the
same amount for every pair, so it is measured on `--peer-pairs` of them and scaled to all; the
error is checked on those pairs.
"""

from __future__ import annotations

import numpy as np
import torch

from benchmarks.common import (
    arguments,
    block_parameters,
    clock,
    match_prompts,
    matrix_peak,
    random_model,
    report,
)
from benchmarks.peers import padded
from nashlens.engine.core import Engine
from nashlens.engine.edits import Edit
from nashlens.engine.labels import LabelledPrompt
from nashlens.models.load import LoadedModel

LABELS = ([5], [6])


@torch.inference_mode()
def hooked(loaded: LoadedModel, prompts: list[list[int]], edit: Edit, size: int) -> np.ndarray:
    step = torch.from_numpy(edit.unit() * np.float32(edit.value)).to(loaded.device)

    def hook(_module: object, _inputs: object, out: torch.Tensor) -> torch.Tensor:
        out[:, -1] += step.to(out.dtype)
        return out

    handle = loaded.model.model.layers[edit.layer - 1].register_forward_hook(hook)
    result = []
    try:
        for start in range(0, len(prompts), size):
            which = list(range(start, min(start + size, len(prompts))))
            inputs = padded(loaded, prompts, which)
            logits = loaded.model(**inputs, use_cache=False, logits_to_keep=1).logits[:, -1]
            logprobs = torch.log_softmax(logits.float(), dim=-1)
            result.append(logprobs[:, [LABELS[0][0], LABELS[1][0]]].cpu().numpy())
    finally:
        handle.remove()
    return np.concatenate(result)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--round", type=int, default=None, help="round of the decision")
    parser.add_argument("--alphas", type=int, default=11)
    parser.add_argument("--batch-tokens", type=int, default=None)
    parser.add_argument("--peer-batch", type=int, default=None)
    parser.add_argument("--peer-pairs", type=int, default=3)
    options = parser.parse_args()
    cuda = options.device == "cuda"
    count = 8 if options.quick else options.prompts
    loaded = random_model(options)
    now = options.round or (20 if cuda else 5)
    prompts = match_prompts(5, now, seeds=-(-count // 5))[now - 1 :: now][:count]
    asked = [LabelledPrompt(prompt, LABELS) for prompt in prompts]
    engine = Engine(loaded, options.batch_tokens or (8192 if cuda else 4096))
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(engine.n_layers + 1, engine.width))
    alphas = np.linspace(-2, 2, options.alphas)
    edits = [
        Edit(layer, "add", vectors[layer], float(alpha))
        for layer in range(1, engine.n_layers + 1)
        for alpha in alphas
    ]
    warm = None
    if cuda:
        warm, _ = clock(lambda: engine.sweep(asked, edits), options.device)
    seconds, ours = clock(lambda: engine.sweep(asked, edits), options.device)
    some = np.linspace(0, len(edits) - 1, options.peer_pairs).astype(int)
    size = options.peer_batch or (16 if cuda else 8)
    hooked(loaded, prompts[:2], edits[0], 2)
    peer, error = 0.0, 0.0
    for i in some:
        took, theirs = clock(lambda i=i: hooked(loaded, prompts, edits[i], size), options.device)
        peer += took
        error = max(error, float(np.abs(theirs - ours[:, i]).max()))
    whole = peer / len(some) * len(edits)
    peak = matrix_peak(options.device, loaded.dtype)
    layer = block_parameters(loaded) / engine.n_layers
    above = sum(engine.n_layers - edit.layer for edit in edits)
    unembed = loaded.vocab * loaded.width * len(edits)
    base = sum(map(len, prompts)) * engine.n_layers * layer
    operations = 2 * (base + len(prompts) * (above * layer + unembed))
    report(
        benchmark="sweep",
        device=torch.cuda.get_device_name() if cuda else "cpu",
        ratio=whole / seconds,
        max_error=error,
        seconds=seconds,
        first_call_seconds=warm,
        peer_seconds=whole,
        peer_pairs_measured=len(some),
        peer_batch=size,
        prompts=len(prompts),
        tokens=sum(map(len, prompts)),
        edits=len(edits),
        matrix_peak=peak,
        floor_seconds=operations / peak,
        floor_share=operations / peak / seconds,
    )


if __name__ == "__main__":
    main()
