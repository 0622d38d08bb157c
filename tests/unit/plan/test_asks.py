"""What jobs ask of GPUs, from the sizes of their models."""

import pytest

from nashlens.models.shapes import SHAPES
from nashlens.plan.asks import MARGIN, Ask, model_ask, readout_ask
from nashlens.plan.memory import CONTEXT, GB, row_bytes, scoring_bytes, weight_bytes

HOW = {
    "device": "auto", "parallel": "none", "gpus": 0, "dtype": "auto", "quantization": "none"
}  # fmt: skip
KNOWN = {"small": SHAPES["smollm2-135m"], "large": SHAPES["llama-3-70b"]}


def ask(small=None, large=None, shapes=KNOWN, models=("small", "large")):
    config = {
        "models": {"small": HOW | (small or {}), "large": HOW | (large or {})},
        "resources": {"batch_tokens": 4096},
        "prompts": {"rounds": [5]},
    }
    return model_ask(config, "ask_quiz", models, shapes)


def test_each_model_has_a_share_of_its_own_size():
    small, large = ask(large={"quantization": "nf4"}).shares
    how = HOW | {"quantization": "nf4"}
    assert large > weight_bytes(KNOWN["large"], how, True) / 1e6
    plain = weight_bytes(KNOWN["small"], HOW, True) + row_bytes(KNOWN["small"], HOW, True, 4096)
    expected = MARGIN * (plain + scoring_bytes(KNOWN["small"])) + CONTEXT
    assert small == pytest.approx(expected / 1e6, abs=1)
    assert small < 10_000 < 35_000 < large < 60_000


def test_a_model_on_the_cpu_asks_for_nothing():
    assert ask({"device": "cpu"}, models=("small",)) is None
    assert len(ask({"device": "cpu"}).shares) == 1


def test_a_model_that_is_spread_takes_whole_gpus():
    assert ask(large={"parallel": "tensor", "gpus": 4}, models=("large",)) == Ask(whole=4)
    assert ask(large={"parallel": "pipeline", "gpus": 2}) == Ask(whole=3)
    # As many as there are, where nothing says how many.
    assert ask(large={"parallel": "pipeline"}, models=("large",)) == Ask(whole=-1)


def test_a_model_of_unknown_size_takes_a_whole_gpu():
    assert ask(shapes={"small": KNOWN["small"]}) == Ask(whole=2)
    assert readout_ask(HOW, None, tuned=False) == Ask(whole=1)


def test_a_named_gpu_is_asked_for_by_name():
    found = ask(large={"device": "cuda:2"})
    assert found.pins == (0, 2)
    assert str(found).endswith("@2")
    assert Ask.parse(str(found)) == found


def test_a_lens_asks_for_the_unembedding_and_not_for_the_model():
    (plain,) = readout_ask(HOW, KNOWN["large"], tuned=False).shares
    (tuned,) = readout_ask(HOW, KNOWN["large"], tuned=True).shares
    size = 4 * KNOWN["large"].vocab * KNOWN["large"].width / 1e6
    assert size < plain < tuned < 2 * size + 3 * GB / 1e6
    assert readout_ask(HOW | {"device": "cpu"}, KNOWN["large"], tuned=True) is None
