import dataclasses
import importlib.metadata
import json

import torch

from arcmix import checked
from arcmix.machines import Machine
from arcmix.models import numerics


def test_the_hardware_the_threads_and_the_versions_are_named():
    found = numerics.machine()
    checked.check("machine", dataclasses.asdict(found), Machine, "")
    assert found.threads == torch.get_num_threads()
    assert found.ranks == 1
    assert found.instructions.split()[0] == torch.backends.cpu.get_cpu_capability()
    assert found.versions["torch"] == importlib.metadata.version("torch")
    assert {"python", *numerics.LIBRARIES} <= {*found.versions}


def test_the_numerics_are_those_of_the_machine_as_json():
    found = numerics.found()
    assert found == json.loads(json.dumps(found)) == dataclasses.asdict(numerics.machine())
