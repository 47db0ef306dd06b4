"""Programs that are killed at random leave nothing behind, and end as if they were not killed.

The suite kills each a few times; `make kills` kills more often, and runs programs in pairs.
"""

import json
import logging
import time

import pytest

from arcmix import files, tasks
from tests import killing, launching, predicting
from tests.arc import component
from tests.archives import entry, mirror
from tests.sampling.test_augment import make
from tests.stages import test_adapt, test_finetune_started, test_record

log = logging.getLogger("kills")


@pytest.fixture
def finetune(base_model):
    def prepare(folder):
        flags = test_finetune_started.prepare(
            folder, base_model, budget=12, micro_tokens=200, learning_rate=0.001
        )
        flags |= {name: folder / "cache" / name for name in ("checkpoints", "tracking")}
        outs = ("adapter", "losses", "history", "summary", "machine")
        return killing.Work("stages.finetune", flags, outs)

    return prepare


@pytest.fixture
def adapt(base_model, trained):
    def prepare(folder):
        values = {
            "scale": "tiny",
            "seed": 0,
            "init_seed": "seed",
            "augment": make().model_dump(mode="json"),
            "checkpoint": "last",
            "scales": {
                "tiny": {
                    "finetune": test_adapt.HOW.model_dump(mode="json"),
                    "test_time": test_adapt.ON | {"steps": 6, "eval_every": 2},
                }
            },
        }
        (folder / "params.yaml").write_text(json.dumps(values))
        files.write_text(folder / "code", launching.fingerprint("adapt"))
        flags = {
            "params": folder / "params.yaml",
            "code": folder / "code",
            "base-model": base_model,
            "adapter": trained / "adapter",
            "validation": trained / "validation.parquet",
            "checkpoints": folder / "cache/checkpoints",
            "adapted": folder / "adapted",
            "table": folder / "adapt.csv",
            "machine": folder / "machine.json",
        }
        return killing.Work("stages.adapt", flags, ("adapted", "table", "machine"))

    return prepare


@pytest.fixture
def predict(base_model, trained):
    def prepare(folder):
        places = predicting.paths(folder, base_model, trained, trained / "adapted")
        flags = predicting.flags(
            places, folder, views=8, draft="copy", batch_tokens=300, grammar=True, rescore=2
        )
        flags |= {"predictions": folder / "cache/predictions"}
        return killing.Work("stages.predict", flags, ("candidates", "scores", "losses", "machine"))

    return prepare


@pytest.fixture
def record():
    def prepare(folder):
        made = test_record.Run(folder)
        made.write("ledger/combo-v2/1-0123456789ab.json", "{}")
        names = ("metrics.json", "tasks.csv", "history.csv", "mix.json", "partition.json")
        flags = {name.partition(".")[0]: folder / name for name in names}
        flags |= {name: folder / name for name in ("initial", "adapter")}
        flags |= {name: folder / f"{name}.parquet" for name in test_record.TABLES}
        flags |= {"run-code": folder / "code", "machine": folder / "machines"}
        flags |= {"model": folder / "model.json"}
        flags |= {
            "params": folder / "params.yaml",
            "rows": folder / "ledger",
            "own": folder / "own",
        }
        return killing.Work("stages.record", flags | {"deposit": folder / "deposit"}, ())

    return prepare


@pytest.fixture
def download():
    def prepare(folder):
        cache = folder / "cache"  # also for inputs whose bytes differ from run to run
        cache.mkdir()
        values = {
            "mirror": str(mirror(cache / "mirror")),
            "partition": {"source": "arc"},
            "measure": {"source": "arc"},
            "dataset": "mine",
            "datasets": {"mine": {"mini": component("mini")}},
            "sources": {"mini": entry().model_dump(mode="json")},
        }
        (cache / "params.yaml").write_text(json.dumps(values))
        flags = {
            "params": cache / "params.yaml",
            "key": "download@mini",
            "root": cache,
            "cache": cache / "downloads",
            "out": folder / "tasks",
        }
        return killing.Work("stages.download", flags, ())

    return prepare


@pytest.fixture(scope="module")
def trained(tmp_path_factory, base_model):
    """A folder with an untrained adapter and validation tasks."""
    folder = tmp_path_factory.mktemp("trained")
    predicting.write_adapter(folder / "adapter", base_model, lora=test_adapt.HOW.lora)
    files.write_json(folder / "adapted/tasks.json", [])
    tasks.write(folder / "validation.parquet", test_adapt.ASKED)
    return folder


LONG = pytest.mark.kills


@pytest.mark.parametrize("name", ["finetune", "adapt", "predict", "record", "download"])
@pytest.mark.parametrize(("kills", "pairs"), [(2, 1), pytest.param(20, 6, marks=LONG)])
def test_killed_runs_and_runs_of_one_key_at_the_same_time_end_as_one_undisturbed(
    tmp_path, request, name, kills, pairs
):
    started = time.monotonic()
    trial = killing.Trial(tmp_path, request.getfixturevalue(name))
    trial.kill(kills)
    for _ in range(pairs):
        trial.pair()
    log.info("%s: %s in %.0f s", name, trial.tally, time.monotonic() - started)
