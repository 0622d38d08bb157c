"""`--config measure=true`: this machine is measured before its time is said."""

import pytest
import torch

from nashlens.plan import measure
from workflow.experiment import take_measure
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


@pytest.mark.parametrize(("said", "found"), [("true", True), (1, True), (False, False)])
def test_to_measure_is_no_part_of_an_experiment(said, found):
    config = {"measure": said, "experiment": {}}
    assert take_measure(config) is found
    assert config == {"experiment": {}}
    assert take_measure({}) is False


def test_another_answer_is_refused_with_what_is_allowed(capsys):
    with pytest.raises(SystemExit):
        take_measure({"measure": "perhaps"})
    assert "measure: found 'perhaps'; allowed: true or false" in capsys.readouterr().err
