import importlib.metadata
import json

import torch

from arcmix.models import numerics


def test_the_hardware_the_threads_and_the_versions_are_named():
    found = numerics.found()
    assert found == json.loads(json.dumps(found))
    assert found["threads"] == torch.get_num_threads()
    assert found["torch"] == importlib.metadata.version("torch")
    assert found["device"]
