"""Settings and models of the whole test run."""

from pathlib import Path

import pytest
from hypothesis import settings

from arcmix import model, params

# Two busy cores would break any limit on the time of one example.
settings.register_profile("arcmix", deadline=None)
settings.load_profile("arcmix")

TINY = params.RandomModel(kind="random", seed=0, hidden=32, layers=2, heads=2, positions=4096)


@pytest.fixture(scope="session")
def base_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random two-layer Llama and a character tokenizer."""
    model.quiet()
    folder = tmp_path_factory.mktemp("base-model")
    model.random(TINY, folder)
    return folder
