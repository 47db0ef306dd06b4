import logging
from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides

from stages import check

PARAMS = Path(__file__).parents[2] / "params.yaml"


def test_run_writes_the_same_text_for_every_choice(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    texts = []
    for dataset in ("train", "arc-1d"):
        file, out = tmp_path / "params.yaml", tmp_path / "new" / dataset
        file.write_text(PARAMS.read_text().replace("dataset: combo-v2", f"dataset: {dataset}"))

        check.run(file=file, out=out)

        texts.append(out.read_text())
        choices, stated = caplog.messages
        assert choices == f"dataset {dataset}, model smollm2-135m, scale quick"
        assert stated == (
            "set these by scales.quick, which states them: finetune.budget=80,"
            " finetune.eval_every=20, finetune.loss=outputs (not answer),"
            " predict.batch_tokens=16384, predict.max_side=12"
        )
        caplog.clear()
    assert texts[0] == texts[1] == "params.yaml holds together\n"


def test_run_shows_an_override_of_a_default_that_the_scale_states(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    file = tmp_path / "params.yaml"
    file.write_text(PARAMS.read_text())
    apply_overrides(file, ["scale=tiny", "finetune.lora.rank=9"])

    check.run(file=file, out=tmp_path / "checked")

    assert "set these by scales.tiny, which states them: " in caplog.text
    assert ", finetune.lora.rank=4 (not 9), " in caplog.text


def test_run_writes_nothing_when_the_file_is_refused(tmp_path: Path) -> None:
    file, out = tmp_path / "params.yaml", tmp_path / "checked"
    file.write_text(PARAMS.read_text().replace("dataset: combo-v2", "dataset: combo"))

    with pytest.raises(ValueError, match=r"dataset: 'combo' is not one of \['arc-1d', "):
        check.run(file=file, out=out)

    assert not out.exists()
