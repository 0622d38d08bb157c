"""Host memory of jobs, by the sizes of models and designs."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
import yaml

from nashlens.models.shapes import SHAPES
from nashlens.plan.host import (
    _BESIDES,
    _WITH_MORE,
    _WITH_TORCH,
    COMPILER,
    CUDA,
    GB,
    ON_MODEL,
    UNKNOWN,
    HostJob,
    host_bytes,
    prompts_asked,
)
from nashlens.plan.sizes import find_size
from tests.configs import merge, resolved
from tests.conftest import EMBEDDED, ROOT
from tests.unit.plan.test_memory import LARGE, SMALL, STUDY
from tests.unit.plan.test_memory import config_of as gpu_config
from workflow.experiment import Experiment
from workflow.groups import play_groups

GPU_STUDIES = {name: (text, {model: shape}) for name, (model, shape, text) in LARGE.items()}
GPU_STUDIES["small"] = STUDY, SMALL


def config_of(*overlays, **over):
    raw = yaml.safe_load((ROOT / "config.yaml").read_text())
    for name in overlays:
        raw = merge(raw, yaml.safe_load((ROOT / "experiments" / name).read_text()))
    return resolved(merge(raw, over))


def gigabytes(config, rule, shapes, **how):
    return host_bytes(HostJob(rule, list(shapes), **how), config, shapes) / GB


@pytest.mark.parametrize(
    ("rule", "measured", "how"),
    # docs/benchmarks.md, The default experiment on two CPU cores.
    [
        ("play_part", 3.143, {"players": ["smollm2"]}),
        ("play_part", 2.757, {"players": ["smollm2", "smollm2_cot"]}),
        ("play_part", 2.919, {"players": ["smollm2_cot"]}),
        ("attribute_answers", 1.897, {}),
        ("build_report", 0.532, {}),
        ("extract_activations", 1.070, {}),
        ("sweep_steering", 1.389, {}),
        ("extract_untrained", 1.244, {}),
        ("ablate_heads", 1.590, {}),
        ("ask_quiz", 1.137, {}),
        ("fit_tuned_lens", 1.345, {}),
        ("convert_model", 1.241, {}),
        ("read_lens", 0.675, {}),
        ("fit_probes", 0.551, {}),
        ("judge_findings", 0.332, {}),
        ("patch_pairs", 1.219, {}),
        ("spike_model", 1.113, {}),
        ("check_players", 1.125, {}),
        ("ask_beliefs", 1.015, {}),
        ("read_tuned_lens", 0.647, {}),
        ("climb_ladder", 0.499, {}),
        ("fit_directions", 0.168, {}),
        ("measure_play", 0.240, {}),
        ("judge_play", 0.222, {}),
        ("judge_lineage", 0.247, {}),
        ("summarise_attribution", 0.381, {}),
        ("summarise_steering", 0.272, {}),
        ("summarise_heads", 0.215, {}),
        ("summarise_lens", 0.199, {}),
        ("summarise_tuned_lens", 0.194, {}),
        ("estimate_effects", 0.214, {}),
        ("build_prompts", 0.194, {}),
        ("build_pairs", 0.192, {}),
        # At an 8B shape, where it takes the most.
        ("price_jobs", 0.418, {}),
    ],
)
def test_the_default_experiment_asks_for_what_it_was_measured_to_take(rule, measured, how):
    found = gigabytes(config_of(), rule, {"smollm2": find_size(EMBEDDED)}, **how)
    assert measured < found < 3 * measured


def test_the_calibration_asks_for_the_tables_of_all_its_models():
    """Measured with 64 models (docs/benchmarks.md): most of it is their steering tables."""
    config = config_of("calibration.yaml")
    models = {name: how["source"] for name, how in config["models"].items()}
    shapes = {name: find_size(source) for name, source in models.items()}
    measured = dict(list(shapes.items())[:64])
    asked = gigabytes(config, "calibrate", measured)
    assert 5.081 < asked < 1.5 * 5.081
    # There are more of them now.
    grown = gigabytes(config, "calibrate", shapes) / asked
    assert 1.0 < grown < len(shapes) / len(measured)


def test_jobs_that_count_as_light_import_no_torch():
    """It takes a second and 0.08 GB of each job. Those that are left out count it elsewhere."""
    counted = ON_MODEL | _WITH_TORCH | _WITH_MORE | {"calibrate", "price_jobs"}
    scripts = sorted(path.stem for path in (ROOT / "scripts").glob("*.py"))
    light = [name for name in scripts if name not in counted]
    assert len(light) > 20
    code = (
        "import importlib, sys\n"
        f"for name in {light}:\n"
        "    importlib.import_module(f'scripts.{name}')\n"
        "    assert 'torch' not in sys.modules, name\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(autouse=True)
def cpu_build(monkeypatch):
    """Whatever torch is installed here."""
    monkeypatch.setattr("nashlens.plan.host.cuda_build", lambda: False)


def test_tables_of_play_are_not_counted_as_if_all_met_where_no_two_do():
    """With 75 models that play by themselves, each job over all play had asked for 15 GB."""
    config = config_of("calibration.yaml")
    shapes = {name: find_size(how["source"]) for name, how in config["models"].items()}
    apart = host_bytes(HostJob("measure_play", []), config, shapes) / GB
    config["matches"]["cross_play"] = True
    assert apart < 3.0 < 15.0 < host_bytes(HostJob("measure_play", []), config, shapes) / GB


@pytest.mark.parametrize(
    ("study", "rule", "group", "measured"),
    # docs/benchmarks.md, Host memory of jobs; in processes that compile there are five more.
    [
        ("shape", "play_part", "llama3_8b", 1.994),
        ("shape", "extract_activations", "", 1.656),
        ("shape", "ask_quiz", "", 1.858),
        ("shape", "sweep_steering", "", 1.717),
        ("shape", "fit_tuned_lens", "", 5.478),
        ("shape", "read_lens", "", 2.328),
        ("shape", "read_tuned_lens", "", 3.447),
        ("slice", "extract_activations", "", 2.169),
        ("slice", "ask_quiz", "", 1.829),
        ("slice", "attribute_answers", "", 2.118),
        ("slice", "play_part", "big_cot", 1.975),
        ("slice", "fit_tuned_lens", "", 21.890),
        ("slice", "read_lens", "", 3.388),
        ("small", "play_part", "half", 1.549),
        ("small", "play_part", "small--half", 1.681),
        ("small", "fit_tuned_lens", "", 2.229),
        ("small", "read_tuned_lens", "", 1.520),
    ],
)
def test_jobs_on_a_gpu_ask_for_what_they_were_measured_to_take(study, rule, group, measured):
    overlay, shapes = GPU_STUDIES[study]
    config = gpu_config(overlay)
    players = play_groups(config["agents"], config["matches"])[group] if group else ()
    models = {config["agents"][player]["model"] for player in players} or {
        "half",
        "big",
        "llama3_8b",
    }
    named = {name: SHAPES[shape] for name, shape in shapes.items() if name in models}
    found = gigabytes(config, rule, named, on_gpu=True, players=players)
    assert measured < found < 3.3 * measured


@pytest.mark.parametrize(
    ("rule", "measured"),
    [
        ("ablate_heads", 0.762),
        ("attribute_answers", 0.753),
        ("extract_activations", 0.670),
        ("patch_pairs", 0.729),
        ("convert_model", 1.025),
        ("fit_probes", 0.841),
        ("judge_findings", 0.511),
        ("spike_model", 1.031),
    ],
)
def test_a_torch_that_comes_with_cuda_takes_more_on_the_cpu_as_well(monkeypatch, rule, measured):
    """The largest of the calibration's jobs, on a machine with GPUs, of which they use none."""
    monkeypatch.setattr("nashlens.plan.host.cuda_build", lambda: True)
    config = config_of("calibration.yaml")
    shapes = {"inert": find_size(config["models"]["inert"]["source"])}
    assert measured < gigabytes(config, rule, shapes) < 3 * measured


def test_prompts_are_counted_without_building_them():
    assert prompts_asked(config_of()) == 640
    assert prompts_asked(config_of("tiny.yaml")) == 448
    crossed = config_of(prompts={"crossed": ["templates"]})
    assert prompts_asked(crossed) == 2 * 640


def test_a_gpus_host_holds_its_libraries_and_no_weights():
    config, shapes = config_of("shape.yaml"), {"llama3_8b": SHAPES["llama-3-8b"]}
    for rule in ON_MODEL:
        found = gigabytes(config, rule, shapes, on_gpu=True)
        assert (CUDA + COMPILER) / GB < found < 13
        if rule in ("play_part", "extract_activations"):
            assert found < 8
    assert gigabytes(config, "play_part", shapes) > 2 * 16
    # The unembedding lies in its file, and is 4.2 GB twice over in float32.
    assert gigabytes(config, "read_lens", shapes) < 3


def test_quantised_weights_are_read_by_transformers_which_maps_them():
    source = "hub:meta-llama/Meta-Llama-3-70B-Instruct@main"
    shapes, over = {"m": SHAPES["llama-3-70b"]}, {"source": source, "gpus": 1}
    plain, packed = (
        config_of(models={"m": over | {"quantization": kind}}, agents={"m": {"model": "m"}})
        for kind in ("none", "nf4")
    )
    one, other = (gigabytes(c, "ask_quiz", shapes, on_gpu=True) for c in (plain, packed))
    assert other > one + 4


def test_more_of_anything_takes_more():
    shapes = {"smollm2": find_size(EMBEDDED)}
    small, large = (
        config_of(),
        config_of(
            prompts={"histories": 400}, lens={"tuned_tokens": 20000}, attribution={"prompts": 400}
        ),
    )
    fixed = {
        "attribute_answers",
        "convert_model",
        "sweep_steering",
        "summarise_steering",
        "calibrate",
    }
    rules = set(_BESIDES) - fixed
    for rule in sorted(rules):
        assert gigabytes(large, rule, shapes) > gigabytes(small, rule, shapes), rule
    threads = gigabytes(small, "read_lens", shapes, threads=8)
    assert threads > gigabytes(small, "read_lens", shapes)


def test_positions_of_a_kind_take_what_they_take_one_by_one():
    shapes = {"smollm2": find_size(EMBEDDED)}
    every = ["decision", "option_first", "option_second"]
    kind, single = (
        config_of(**{section: {"positions": names} for section in ("activations", "lens")})
        for names in (["decision", "options"], every)
    )
    for rule in ("read_lens", "extract_activations", "summarise_lens"):
        assert gigabytes(kind, rule, shapes) == gigabytes(single, rule, shapes), rule


def experiment(config, shapes, remote=False):
    """An experiment, as far as `mem_mb` looks at it."""
    made = SimpleNamespace(config=config, shapes=shapes, remote=remote)
    made.groups = play_groups(config["agents"], config["matches"])
    agents = config["agents"]

    def models_of(given):
        players = made.groups[given["group"]] if "group" in given else ()
        names = [agents[p]["model"] for p in players if agents[p]["model"]]
        return list(dict.fromkeys(names)) or [given["model"]]

    made.provenance = SimpleNamespace(models_of=models_of)
    for name in ("mem_mb", "_on_gpu", "_gpu_here"):
        setattr(made, name, getattr(Experiment, name).__get__(made))
    return made


def test_what_the_user_says_wins():
    shapes = {"smollm2": find_size(EMBEDDED)}
    model, group = {"model": "smollm2"}, {"group": "smollm2"}

    def asked(over, given, rule, **how):
        return experiment(config_of(**over), shapes, **how).mem_mb(given, rule, 1)

    free = asked({}, model, "ask_quiz")
    assert free % 50 == 0
    assert asked({}, group, "play_part") > free
    assert free < asked({}, model, "ask_quiz", remote=True) < free + 500
    both = {"resources": {"model_mem_mb": 700, "light_mem_mb": 300}}
    assert asked(both, model, "ask_quiz") == 700
    assert asked(both, model, "convert_model") == 700
    assert asked(both, model, "read_lens") == 300
    assert asked(both, {}, "join_findings") == 300
    own = both | {"models": {"smollm2": {"mem_mb": 900}}}
    assert asked(own, group, "play_part") == 900
    assert asked(own, model, "read_lens") == 300


def test_a_pair_of_which_one_is_said_asks_for_the_other_by_arithmetic():
    config = config_of("tiny.yaml", models={"tiny_llama": {"mem_mb": 900}})
    shapes = {m: find_size(config["models"][m]["source"]) for m in ("tiny_llama", "tiny_qwen")}
    made = experiment(config, shapes)
    alone = made.mem_mb({"group": "tiny_qwen"}, "play_part", 1)
    assert made.mem_mb({"group": "tiny_llama--tiny_qwen"}, "play_part", 1) == 900 + alone


def test_a_model_of_unknown_size_asks_for_much():
    found = experiment(config_of(), {}).mem_mb({"model": "smollm2"}, "ask_quiz", 1)
    assert found > UNKNOWN / 1e6
