"""What a plan measures of this machine, and what it is about: `target=ladder`."""

import pytest
import torch

from nashlens.models.shapes import SHAPES
from nashlens.plan import measure
from nashlens.plan.devices import DEVICES, H100, H200
from nashlens.plan.screen import plan_text
from nashlens.plan.study import Job
from nashlens.plan.table import Machine, make_plan
from tests.conftest import ROOT
from tests.unit.plan.test_study import study
from tests.workflow.workspace import TARGETS
from workflow.call import ASKED_ABOUT, take_asked
from workflow.command import Command
from workflow.dag import Call
from workflow.messages import about_the_same
from workflow.plan import this_machine


def test_a_core_is_measured_on_one_thread_and_threads_stay_as_they_were():
    before = torch.get_num_threads()
    assert measure.core_speed(0.1) > 0.0
    assert torch.get_num_threads() == before


def test_what_was_measured_is_the_speed_of_this_machine_and_nothing_is_without_being_asked(
    monkeypatch,
):
    asked = []
    monkeypatch.setattr(measure, "core_speed", lambda seconds: asked.append(seconds) or 1.7)
    monkeypatch.setattr("workflow.plan.visible_gpus", lambda: 0)
    assert this_machine().core_speed == 1.0
    assert not asked
    assert this_machine(measure=True).core_speed == 1.7
    assert asked == [measure.SECONDS]


H200_KIND = "NVIDIA H200"
OTHER = "NVIDIA A100-SXM4-80GB"
H100_KIND = "NVIDIA H100 80GB HBM3"


@pytest.fixture
def driver(monkeypatch, tmp_path):
    """What plants the program of a driver that tells of some GPUs, `kind -> MiB`."""

    def plant(*gpus):
        said = "".join(f"{k}, GPU-{k}, {mib}, 4, {kind}\n" for k, (kind, mib) in enumerate(gpus))
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\ncat <<'END'\n{said}END\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(len(gpus)))))

    return plant


def planned(machine):
    jobs = [Job("ablate_heads", ("big",), gpus=1)]
    return " ".join(plan_text(make_plan(study(), jobs, machine), "mine").split())


def test_gpus_here_have_their_own_name_and_memory_and_a_plan_says_as_what_they_count(
    driver, monkeypatch
):
    driver((OTHER, 81920), (OTHER, 81920))
    here = this_machine()
    assert (here.gpus, here.device.name) == (2, OTHER)
    assert here.device.memory == pytest.approx(0.98 * 81920 * 2**20, rel=1e-4)
    text = planned(here)
    assert f"2 x {OTHER} of 84 GB" in text
    counts = f"GPUs here ({OTHER}) count as an H100: `--config measure=true` measures them"
    assert counts in text
    assert "jobs share one as far as its memory holds them" in " ".join(text.split())
    # As fast as the table's, until it is measured.
    shape = SHAPES["llama-3-8b"]
    rates = [d.rate(shape, "bfloat16", "rows") for d in (here.device, DEVICES[H100])]
    assert rates[0] == rates[1]
    monkeypatch.setattr(measure, "core_speed", lambda seconds: 1.0)
    monkeypatch.setattr(measure, "gpu_speed", lambda seconds: 1.5)
    measured = this_machine(measure=True)
    assert measured.device.rate(shape, "bfloat16", "rows") == 1.5 * rates[1]
    assert "count as an H100" not in planned(measured)


def test_the_tables_own_gpus_count_as_themselves_and_one_of_unknown_kind_is_called_that(driver):
    driver((H100_KIND, 81559))
    assert this_machine().device == DEVICES[H100]
    assert "count as an H100" not in planned(this_machine())
    driver((H200_KIND, 143771), (H200_KIND, 143771))
    assert this_machine().device == DEVICES[H200]
    text = planned(this_machine())
    assert "2 x H200 141GB" in text
    assert "count as an H100" not in text
    driver((H100_KIND, 81559), (H200_KIND, 143771))
    assert this_machine().device.like == H100
    driver((H100_KIND, 81559), ("NVIDIA L4", 23034))
    here = this_machine()
    assert here.device.name == f"{H100_KIND} and NVIDIA L4"
    assert here.device.memory == pytest.approx(0.98 * 23034 * 2**20, rel=1e-4)


def test_gpus_of_which_the_driver_says_nothing_count_as_an_h100(monkeypatch):
    monkeypatch.setattr("workflow.plan.visible_gpus", lambda: 1)
    monkeypatch.setattr("workflow.plan.read_gpus", list)
    text = planned(this_machine())
    assert "1 x GPU of unknown kind" in text
    assert "GPUs here (GPU of unknown kind) count as an H100" in text


def test_a_plan_without_a_gpu_says_nothing_of_gpus():
    jobs = [Job("build_games"), Job("draw_games", after=(0,))]
    assert "GPUs: " not in plan_text(make_plan(study(), jobs, Machine("here", 2)), "mine")


def test_a_plan_is_about_all_of_an_experiment_or_about_the_targets_that_are_named():
    config = {"target": "ladder", "experiment": {}}
    assert take_asked(config).about == ["ladder"]
    assert config == {"experiment": {}}
    assert take_asked({"target": ["lens", "probes"]}).about == ["lens", "probes"]
    assert take_asked({}).about == ["figures"]
    assert Call(ROOT).about("mine") == "mine"
    assert Call(ROOT, targets=["ladder"]).about("mine") == "mine, ladder"


def test_another_target_is_refused_with_those_that_there_are():
    (line,) = take_asked({"target": "ladders"}).problems
    assert line.startswith("target: found 'ladders'; allowed: games, ")


def test_targets_that_can_be_asked_about_are_all_that_make_files_of_an_experiment():
    assert set(ASKED_ABOUT) == TARGETS - {
        "all",
        "calibration",
        "compare",
        "plan",
        "status",
        "verify",
    }


@pytest.mark.parametrize(
    ("targets", "settings"),
    [
        ([], []),
        (["figures"], []),
        (["ladder"], ["target=ladder"]),
        (["probes", "lens"], ["target=[lens, probes]"]),
        (["results/mine/figures/lens.png"], []),
    ],
)
def test_what_a_dry_run_tells_to_ask_is_about_the_same_targets(targets, settings):
    about = about_the_same(Command(["mine.yaml"]), targets)
    assert list(about.configfiles) == ["mine.yaml"]
    assert list(about.settings) == settings
