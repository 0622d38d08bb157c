"""Every supported family, loaded once."""

import numpy as np
import pytest

from nashlens.models.registry import ARCHITECTURES
from tests.tiny_models import FAMILIES, architecture, tiny


@pytest.fixture(scope="session", params=sorted(FAMILIES))
def loaded(request):
    tested = {architecture(family) for family in FAMILIES}
    assert tested == set(ARCHITECTURES), "a supported architecture has no test"
    return tiny(request.param)


@pytest.fixture
def rng():
    return np.random.default_rng(7)
