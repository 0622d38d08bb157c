"""All problems of a config come in one answer, of whatever kind they are."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nashlens.config.files import read_config_file
from nashlens.errors import ConfigError
from tests.configs import merge
from tests.conftest import ROOT
from workflow.call import take_asked
from workflow.experiment import Experiment

PROBLEMS = {
    # Of one key.
    "probes.fold: unknown key": {"probes": {"fold": 3}},
    "experiment.seed: found -1": {"experiment": {"seed": -1}},
    "steering.alphas: found 'all'": {"steering": {"alphas": "all"}},
    "prompts.label_sets.long: found": {"prompts": {"label_sets": {"long": ["A", "B", "C"]}}},
    "prompts.system: found 3": {"prompts": {"system": 3}},
    "figures.formats": {"figures": {"formats": ["gif"]}},
    "models.odd.source: found 'nonsense'": {"models": {"odd": {"source": "nonsense"}}},
    "models.tiny_qwen.dtype: found 'float3'": {"models": {"tiny_qwen": {"dtype": "float3"}}},
    "games.deadlock.title: found 3": {"games": {"deadlock": {"title": 3}}},
    "agents.tiny_qwen.games": {"agents": {"tiny_qwen": {"games": 3}}},
    "spikes: found": {"spikes": "none"},
    # Of lists, each with an entry that is right or wrong in another way.
    "probes.C": {"probes": {"C": ["x", -1, 0.5, 0.5]}},
    "activations.positions": {"activations": {"positions": ["decision", 3]}},
    "patching.layers": {"patching": {"layers": ["x", 9]}},
    "patching.groups": {"patching": {"groups": [3, "round_last-9"]}},
    "steering.directions": {"steering": {"directions": ["abstract", 3]}},
    "prompts.label_sets.odd": {"prompts": {"label_sets": {"odd": [3, "<bos>"]}}},
    "games.harmony.actions": {"games": {"harmony": {"actions": ["dare", 3]}}},
    "agents.many.intervention": {
        "agents": {
            "many": {
                "model": "tiny_llama",
                "intervention": {"layers": ["x", 9], "values": ["x", 1.0]},
            }
        }
    },
    # Between keys.
    "agents.lost.model: found 'nobody'": {"agents": {"lost": {"model": "nobody"}}},
    "agents.direct: this is the name of a mode": {"agents": {"direct": {"model": "tiny_qwen"}}},
    "games.both: has both canonical and payoffs": {
        "games": {"both": {"canonical": "chicken", "payoffs": [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]}}
    },
    "circuits.games[0]: found 'mastermind'": {"circuits": {"games": ["mastermind"]}},
    "probes.folds: found 999": {"probes": {"folds": 999}},
    "prompts.label_sets.case: found": {"prompts": {"label_sets": {"case": ["A", "a"]}}},
    "models.tiny_qwen.base: found 'nobody'": {"models": {"tiny_qwen": {"base": "nobody"}}},
    "matches.label_sets": {"matches": {"label_sets": ["gone"]}},
    # Prompts: labels that a tokenizer does not tell apart, and special tokens.
    "prompts.label_sets.alike: ['un', 'up']": {"prompts": {"label_sets": {"alike": ["un", "up"]}}},
    "modes.cot.anchor: found": {"modes": {"cot": {"anchor": "<user>Answer: option"}}},
    "games.harmony.title: found": {"games": {"harmony": {"title": "a <bos> b"}}},
    # Layers.
    "steering.layers: found layer 9": {"steering": {"layers": [1, 9]}},
    "probes.layers: found layer 5": {"probes": {"layers": [0, 5]}},
    "agents.steered.intervention.layers: found layer 7": {
        "agents": {
            "steered": {"model": "tiny_llama", "intervention": {"layers": [7], "value": 1.0}}
        }
    },
    # Palettes.
    "figures.palette: found 'no_such'": {"figures": {"palette": "no_such"}},
    "figures.styles.lens.palette: found 'none_either'": {
        "figures": {"styles": {"lens": {"palette": "none_either"}}}
    },
    # Design.
    "steering.train_label_sets: no neutral prompt": {"steering": {"train_label_sets": ["words"]}},
    # Files and models.
    "models.gone.source: found 'path:no/such'": {
        "models": {"gone": {"source": "path:no/such"}},
        "agents": {"gone": {"model": "gone"}},
    },
    "models.none.source: found 'planted:randon'": {
        "models": {"none": {"source": "planted:randon"}},
        "agents": {"none": {"model": "none"}},
    },
    "models.tiny_qwen.adapter: found 'no/such'": {"models": {"tiny_qwen": {"adapter": "no/such"}}},
    # GPUs.
    "models.tiny_qwen.device: found 'cuda'": {"models": {"tiny_qwen": {"device": "cuda"}}},
    "models.large.gpus: found 1; it takes": {
        "models": {"large": {"source": "shape:llama-3-8b", "gpus": 1}},
        "agents": {"large": {"model": "large"}},
        "resources": {"gpu_gb": 1},
    },
    # What is no part of an experiment.
    "target: found 'ladders'": {"target": "ladders"},
    "measure: found 'perhaps'": {"measure": "perhaps"},
    "experiments: 'mine': give the names": {"experiments": "mine"},
}
"""Start of a problem's line -> an overlay that has it."""
READ = {
    "steering.train_games": {"steering": {"train_games": ["harmony", 3]}},
    "prompts.templates": {"prompts": {"templates": ["neutral", 3]}},
    "prompts.label_maps": {"prompts": {"label_maps": ["identity", "swap"]}},
    "prompts.opponents": {"prompts": {"opponents": ["TFT", "TAT"]}},
    "prompts.rounds": {"prompts": {"rounds": ["x", 3]}},
    "matches.move_orders": {"matches": {"move_orders": ["simultaneous", 3]}},
    "matches.skip_games": {"matches": {"skip_games": [3, "mastermind"]}},
}
"""Likewise, of keys that others above are judged by."""


def answer(*wrong):
    """Return the lines that a config with some problems is answered with."""
    raw = merge(
        read_config_file(ROOT / "config.yaml"), read_config_file(ROOT / "experiments/tiny.yaml")
    )
    for key in wrong:
        raw = merge(raw, {**PROBLEMS, **READ}[key])
    asked = take_asked(raw)
    with pytest.raises(ConfigError) as caught:
        Experiment(raw, ROOT, list, problems=asked.problems, preflight=True)
    return caught.value.problems


@pytest.mark.parametrize("key", [*PROBLEMS, *READ])
def test_each_is_a_problem_by_itself(key):
    assert [line for line in answer(key) if not line.startswith(key)] == [], key


@settings(max_examples=20, deadline=None)
@given(st.sets(st.sampled_from(sorted(PROBLEMS)), min_size=2))
@example(set(PROBLEMS))
def test_whatever_else_is_wrong_each_is_named(wrong):
    """And nothing that only follows from another problem is."""
    said = answer(*sorted(wrong))
    assert [key for key in wrong if not any(line.startswith(key) for line in said)] == []
    assert [line for line in said if not any(line.startswith(key) for key in wrong)] == []
    assert len(set(said)) == len(said)
