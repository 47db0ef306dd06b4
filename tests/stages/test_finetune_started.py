"""The fine-tune as DVC starts it: a program, killed at times, in one process or in two."""

import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from arcmix import augment, tasks
from tests.arc import task
from tests.test_augment import make
from tests.test_train import settings

ROOT = Path(__file__).parents[2]
TASKS = [task("known", train=2), task("other", train=3)]
TWO = "accelerate launch --config_file launch/ddp.yaml --num_processes 2"
SPEEDS = ["tokens_per_second", "answer_tokens_per_second", "seconds_per_step"]


def start(folder, base_model, launch="python", report_to="none", **changes):
    """Start a fine-tune of two tasks as the pipeline does."""
    folder.mkdir(exist_ok=True)
    tasks.write(folder / "validation.parquet", TASKS)
    drawn = augment.draw(augment.pool(TASKS), np.arange(2), make(), 0, 0, 16)
    augment.write(folder / "samples.parquet", iter([drawn]))
    scale = {
        "prompt": {"format": "bare", "encoder": ["minimal"]},
        "finetune": settings(max_tokens=400, **changes).model_dump(mode="json"),
        "validation": {"max_tokens": 400},
    }
    values = {
        "scale": "tiny",
        "seed": 0,
        "init_seed": "seed",
        "report_to": report_to,
        "scales": {"tiny": scale},
    }
    (folder / "params.yaml").write_text(json.dumps(values))
    flags = {
        "params": folder / "params.yaml",
        "base-model": base_model,
        "samples": folder / "samples.parquet",
        "validation": folder / "validation.parquet",
        "checkpoints": folder / "checkpoints",
        "adapter": folder / "adapter",
        "losses": folder / "losses.parquet",
        "history": folder / "history.csv",
    }
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.Popen(
        [*shlex.split(launch), "-m", "stages.finetune", *words],
        cwd=ROOT,
        env=os.environ | {"PATH": path, "PYTHONPATH": "src", "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process, status=0):
    """Wait for a fine-tune and return its log."""
    _, log = process.communicate(timeout=300)
    assert process.returncode == status, log
    return log


def history(folder):
    """Return the history of a run without what differs from run to run."""
    return pd.read_csv(folder / "history.csv").drop(columns=SPEEDS)


def adapters(folder):
    """Return the weights of the best and of the last adapter."""
    return [
        (folder / f"adapter/{name}/adapter_model.safetensors").read_bytes()
        for name in ("best", "last")
    ]
