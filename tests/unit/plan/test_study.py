"""A study counted without its models: sizes by name, tokens by words, play by a sample."""

from dataclasses import replace

import pytest
import yaml

from nashlens.models.shapes import SHAPES
from nashlens.plan.devices import CPU, CPU_PRODUCTS, DEVICES, H100, Device
from nashlens.plan.host import ON_MODEL
from nashlens.plan.price import price
from nashlens.plan.screen import plan_text
from nashlens.plan.sizes import find_size
from nashlens.plan.study import Job, Study
from nashlens.plan.table import Machine, make_plan
from nashlens.plan.words import WordTokenizer
from tests.configs import merge, resolved
from tests.conftest import EMBEDDED, ROOT
from workflow.groups import play_groups

SHORT = {
    "models": {"tiny_llama": None, "tiny_qwen": None, "big": {"source": "shape:llama-3-8b"}},
    "agents": {
        "tiny_llama": {"model": "big"},
        "tiny_cot": {"model": "big", "rounds": 6},
        "tiny_qwen": None,
        "tiny_notes": None,
        "tiny_steered": None,
    },
}


def study(**over):
    files = (ROOT / "config.yaml", ROOT / "experiments/tiny.yaml")
    raw = merge(*(yaml.safe_load(file.read_text()) for file in files))
    config = resolved(merge(merge(raw, SHORT), over))
    return Study(config, play_groups(config["agents"], config["matches"]), {})


def test_every_stage_of_a_model_that_is_not_here_has_a_price():
    here = study()
    assert here.tokenizers["big"].name == "words"
    assert here.by_words == ["big"]
    for rule in sorted(ON_MODEL - {"play_part", "check_players"}):
        job = Job(rule, ("big",), gpus=1)
        work = here.work(job)["big"]
        assert work.passes(SHAPES["llama-3-8b"]) > 0, rule
        found = price(here, job, DEVICES[H100])
        assert found.gpu_seconds > 0
        assert found.gpu > 2 * SHAPES["llama-3-8b"].parameters()


def test_models_that_differ_in_their_weights_alone_are_counted_once():
    twins = {
        "models": {
            "nash": {"source": "planted:nash"},
            "override": {"source": "planted:override"},
            "coarse": {"source": "planted:nash", "quantization": "int8"},
        },
        "agents": {
            **{name: {"model": name} for name in ("nash", "override", "coarse")},
            "pushed": {"model": "override", "intervention": {"layers": [1], "values": [0.0, 1.0]}},
        },
    }
    here = study(**twins)
    one = here.tokenizers["nash"]
    assert one is here.tokenizers["override"]
    assert one is not here.tokenizers["big"]
    # Those that play steered, or have no random weights beside them, are counted by themselves.
    assert len({id(here.stages[name]) for name in ("nash", "override", "coarse")}) == 3
    del twins["agents"]["pushed"]
    here = study(**twins)
    assert here.stages["nash"] is here.stages["override"]
    assert here.stages["nash"] is not here.stages["coarse"]
    for rule in sorted(ON_MODEL - {"play_part"}):
        jobs = [Job(rule, (name,)) for name in ("nash", "override")]
        works = [here.work(job)[job.models[0]] for job in jobs]
        fresh = study(**twins)
        assert works[0] == works[1] == fresh.work(jobs[1])["override"], rule


def test_a_plan_says_the_gpu_hours_of_what_is_counted_in_a_table():
    jobs = [Job("ablate_heads", ("big",), gpus=1), Job("extract_activations", ("big",), gpus=1)]
    text = plan_text(make_plan(study(), jobs, Machine("here", 2)), "mine")
    assert " GPU hours and 0.0 core hours, done on 1 in " in text
    assert "\nH100  80 GB, 16 cores each: " in text
    assert "\nH200  141 GB, 16 cores each: " in text


def test_a_plan_says_what_was_not_measured_on_one_of_its_gpus():
    jobs = [Job("extract_activations", ("big",), gpus=1)]
    missing = "H200 141GB: nothing was measured in nf4 there"
    for how, said in (({"dtype": "bfloat16"}, False), ({"quantization": "nf4"}, True)):
        here = study(models={"big": {"device": "cuda"} | how})
        plan = make_plan(here, jobs, Machine("here", 2))
        assert any(missing in note for note in plan.notes) == said
        (row,) = plan.table.to_dict("records")
        assert 0 < row["gpu_seconds_h200"] != row["gpu_seconds_h100"] > 0


def test_probes_have_the_threads_of_the_machine_that_runs_them():
    here = study()
    job = Job("fit_probes", ("big",), threads=1)
    plan = make_plan(here, [job], Machine("here", 2))
    device = DEVICES[H100]
    # Two thirds of 16 cores; of 128, 12 at most.
    by = {n: price(here, replace(job, threads=t), device).seconds for n, t in ((1, 10), (8, 12))}
    assert all(one.wall == pytest.approx(by) for one in plan.there)
    assert plan.wall_here == pytest.approx(price(here, job, Device(CPU, 0.0)).seconds)


def test_the_defaults_spikes_take_what_was_measured_and_follow_their_draws():
    raw = yaml.safe_load((ROOT / "config.yaml").read_text())
    taken = {}
    for draws in (10, 20):
        config = resolved(merge(raw, {"spikes": {"draws": draws}}))
        here = Study(config, play_groups(config["agents"], config["matches"]), {})
        job = Job("spike_model", ("smollm2",))
        taken[draws] = price(here, job, Device(CPU, 0.0)).core_seconds
    # docs/benchmarks.md, The default experiment on two CPU cores.
    assert taken[10] == pytest.approx(46, rel=0.25)
    judged = here.work(job)["smollm2"].cpu / CPU_PRODUCTS
    assert taken[20] - taken[10] == pytest.approx(judged / 2, rel=0.01)


@pytest.mark.parametrize(
    ("group", "names"),
    [
        ("tiny_llama", ("prompts", "tokens", "growing")),
        ("tiny_cot", ("prompts", "tokens", "growing", "written", "steps")),
    ],
)
def test_a_sample_of_play_costs_about_what_all_of_it_does(monkeypatch, group, names):
    long = {"matches": {"rounds": 6, "repetitions": 16, "talk_tokens": 0}}
    whole, some = study(**long), study(**long)
    job = Job("play_part", ("big",), group=group, part=1, parts=1)
    exact = whole.work(job)["big"]
    monkeypatch.setattr("nashlens.plan.study.WHOLE", 10)
    monkeypatch.setattr("nashlens.plan.study.SAMPLE", 96)
    guess = some.work(job)["big"]
    assert some.sampled
    assert not whole.sampled
    for name in names:
        assert getattr(guess, name) == pytest.approx(getattr(exact, name), rel=0.3), name


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("hub:meta-llama/Meta-Llama-3-8B-Instruct@main", "llama-3-8b"),
        ("hub:meta-llama/Llama-3.3-70B-Instruct@main", "llama-3-70b"),
        ("hub:Qwen/Qwen2.5-72B@main", "qwen2.5-72b"),
        ("shape:qwen2.5-32b", "qwen2.5-32b"),
    ],
)
def test_known_models_have_their_true_shapes(source, name):
    assert find_size(source) == SHAPES[name]


def test_an_unknown_model_has_no_size():
    assert find_size("hub:nobody/Nothing-1B@main") is None


def test_a_gguf_header_gives_the_embedded_models_shape():
    found = find_size(EMBEDDED)
    assert found.parameters() == SHAPES["smollm2-135m"].parameters()
    assert (found.layers, found.kv_heads, found.tied) == (30, 3, True)


def test_words_are_pieces_of_a_text():
    words = WordTokenizer()
    text = words.chat([{"role": "user", "content": "You get 12 points.\nChoose J or F."}])
    ids = words.encode(text)
    assert len(words.spans(text)) == len(ids)
    assert words.encode(text + "I choose option")[: len(ids)] == ids
    assert words.encode("12") == words.encode("1") + words.encode("2")
