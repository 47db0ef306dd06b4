"""Stage `predict` on the files of a folder, called directly or started as by DVC."""

import json
from pathlib import Path
from typing import Any

from arcmix import files
from arcmix.config import scales
from arcmix.models import adapters, pretrained
from stages import predict
from tests import launching
from tests.answers import PLAIN
from tests.launching import Program
from tests.training.test_trainer import settings as finetuned

ROOT = Path(__file__).parents[1]


def settings(**changes: Any) -> scales.Predict:
    """Return settings of the prediction with some values changed."""
    return scales.Predict.model_validate(PLAIN | changes)


def write_adapter(folder: Path, base_model: Path, **changes: Any) -> None:
    """Write an adapter folder with an untrained last adapter, with some settings changed."""
    base = pretrained.load(base_model, "float32")
    adapters.save(adapters.attach(base, finetuned(**changes), 0, []), folder / "last")
    prompt = scales.Prompt(format="bare", encoder=("minimal",))
    adapters.save_text(folder, pretrained.load_tokenizer(base_model), prompt)


def paths(folder: Path, base_model: Path, trained: Path, adapted: Path) -> dict[str, Path]:
    """Return the input and output files of the stage, and write the fingerprint of its code."""
    files.write_text(folder / "code", launching.fingerprint("predict"))
    return {
        "code": folder / "code",
        "base_model": base_model,
        "adapter": trained / "adapter",
        "adapted": adapted,
        "validation": trained / "validation.parquet",
        "predictions": folder / "predictions",
        "candidates": folder / "candidates.parquet",
        "scores": folder / "scores.parquet",
        "losses": folder / "answering-losses.parquet",
        "machine": folder / "predict.json",
    }


def run(folder: Path, base_model: Path, trained: Path, adapted: Path, **changes: Any) -> None:
    """Answer the validation tests of a folder with its adapter."""
    predict.run(
        config=predict.Params.model_validate(
            {
                "seed": 0,
                "background": 0.1,
                "checkpoint": "last",
                "finetune": finetuned(),
                "max_tokens": 150,
                "predict": settings(**changes),
            }
        ),
        **paths(folder, base_model, trained, adapted),
    )


def flags(places: dict[str, Path], folder: Path, **changes: Any) -> dict[str, Path]:
    """Write the params of the stage and return its flags.

    Args:
        places: What `paths` returned.
        folder: Where its params lie.
        changes: Of the settings.
    """
    scale = {
        "validation": {"max_tokens": 150},
        "finetune": finetuned().model_dump(mode="json"),
        "predict": settings(**changes).model_dump(mode="json"),
    }
    values = {
        "seed": 0,
        "scale": "tiny",
        "checkpoint": "last",
        "augment": {"background": 0.1},
        "scales": {"tiny": scale},
    }
    (folder / "params.yaml").write_text(json.dumps(values))
    return {"params": folder / "params.yaml"} | {
        name.replace("_", "-"): path for name, path in places.items()
    }


def start(places: dict[str, Path], folder: Path, launch: str, **changes: Any) -> Program:
    """Start the stage on its files.

    Args:
        places: What `paths` returned.
        folder: Where its params lie.
        launch: What starts it, of those in `launching`.
        changes: Of the settings.
    """
    given = flags(places, folder, **changes)
    words = [word for name, path in given.items() for word in (f"--{name}", str(path))]
    return launching.start(launch, "-m stages.predict", *words)
