import pandas as pd
import pytest

from nashlens.activations.plan import draw_matches, used_prompts
from nashlens.interventions import choose_prompts
from nashlens.kept import kept, neutral
from nashlens.probes import usable

PROMPTS = pd.DataFrame(
    {
        "prompt_id": ["a", "b", "c"],
        "match_id": ["m1", "m1", "m2"],
        "block_id": ["m1/1", "m1/1", "m2/1"],
        "game": "pd",
        "round": 1,
        "template": "t",
        "label_set": "jf",
        "label_map": ["identity", "swapped", "identity"],
        "option_order": "forward",
        "dropped": ["", None, "900 tokens with the label, the model takes 512"],
    }
)


@pytest.mark.parametrize(
    "choose",
    [
        kept,
        used_prompts,
        usable,
        lambda prompts: draw_matches(prompts, 10, seed=0),
        lambda prompts: choose_prompts(prompts, ["pd"], 10, 0, "test", key="games"),
    ],
)
def test_every_stage_uses_the_same_prompts(choose):
    assert sorted(choose(PROMPTS)["prompt_id"]) == ["a", "b"]


def test_controlled_estimates_leave_words_with_a_meaning_out():
    kinds = PROMPTS.assign(label_kind=["neutral", "actions", "neutral"])
    assert neutral(kinds)["prompt_id"].tolist() == ["a", "c"]
    assert neutral(PROMPTS) is PROMPTS
