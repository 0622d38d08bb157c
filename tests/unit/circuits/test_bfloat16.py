"""What is replaced in a model of half precision is kept in float32, and comes back in its own."""

import numpy as np
import torch

from tests.tiny_models import tiny

from .test_heads import prompts_table, study


def test_heads_and_mlps_are_ablated_in_bfloat16_as_in_float32():
    prompts = prompts_table(np.random.default_rng(0))
    half, whole = (
        study(tiny("LlamaForCausalLM", dtype=dtype), prompts)
        for dtype in (torch.bfloat16, torch.float32)
    )
    assert len(half) == len(whole)
    keys = ["prompt_id", "kind", "component", "positions", "method"]
    here = [table[table["kind"] == "none"].set_index(keys)["logit_nash"] for table in (half, whole)]
    found, wanted = (one.sort_index().to_numpy() for one in here)
    assert np.abs(found - wanted).max() < 0.05 * np.abs(wanted).max()
    tested = half[(half["kind"] != "none") & (half["method"] == "exact")]
    assert set(tested["positions"]) == {"decision", "all"}
    assert (tested["drop"].abs() > 0).groupby(tested["positions"]).any().all()
