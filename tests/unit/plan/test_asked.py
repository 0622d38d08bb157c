"""What a plan measures of this machine, and what it is about: `target=ladder`."""

import pytest
import torch

from nashlens.plan import measure
from tests.conftest import ROOT
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
