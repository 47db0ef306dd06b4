import shlex
import shutil
from pathlib import Path
from typing import Any

from dvc.utils.hydra import apply_overrides

from arcmix.config import schema
from arcmix.ledger import repeat
from tests.arc import component
from tests.rows import plain_settings, row, sealed, start_of

PARAMS = Path(__file__).parents[2] / "params.yaml"


def test_the_command_names_the_experiment_of_the_row() -> None:
    assert repeat.command(row("re-arc", seed=3)).startswith(
        "dvc exp run -S dataset=re-arc -S model=smollm2-135m -S scale=quick -S seed=3"
        " -S init.adapter=none "
    )
    second = repeat.command(row(start="re-arc/0-0123456789ab"))
    assert (
        " -S init.adapter=re-arc/0-0123456789ab -S init.checkpoint=last -S init.optimizer=fresh "
    ) in second


def test_the_command_has_all_settings_if_the_present_values_are_not_known(tmp_path: Path) -> None:
    present = schema.resolve(schema.read(PARAMS))
    scale: dict[str, Any] = {**present["scales"]["quick"]}
    scale["finetune"] = {**scale["finetune"], "learning_rate": 0.5, "budget": 0}
    settings = {name: present[name] for name in repeat.SETTINGS}
    settings |= {"selection": "vote_count", "init_seed": 5, "scale": scale}
    drawn = [component("new-train", subset="10%"), component("val-n-1")]
    entry = sealed(row(), settings=plain_settings(**settings), components=drawn)

    path = tmp_path / "params.yaml"
    shutil.copy(PARAMS, path)
    other = ["selection=product", "partition.seed=3", "scales.quick.validation.tasks=5"]
    apply_overrides(path, [*other, "augment.color_swaps=9", "predict.views=7"])
    apply_overrides(path, shlex.split(repeat.command(entry))[4::2])

    changed = schema.resolve(schema.read(path))
    assert changed["scales"]["quick"] == scale
    assert {name: changed[name] for name in repeat.SETTINGS} == {
        name: settings[name] for name in repeat.SETTINGS
    }
    assert changed["datasets"]["combo-v2"]["new-train"]["subset"] == "10%"


def test_the_path_of_an_adapter_made_elsewhere_is_left_to_the_user() -> None:
    start = start_of("none") | {"adapter": "folder mine", "optimizer": "fresh"}
    assert " -S init.adapter=./PATH/OF/mine " in repeat.command(sealed(row(), start=start))


def test_the_command_sets_the_values_that_differ_now(tmp_path: Path) -> None:
    present = schema.resolve(schema.read(PARAMS))
    scale: dict[str, Any] = {**present["scales"]["quick"]}
    scale["finetune"] = {**scale["finetune"], "learning_rate": 0.5}
    settings = {name: present[name] for name in repeat.SETTINGS}
    settings |= {"selection": "vote_count", "scale": scale}
    drawn = [component("new-train", subset="10%"), component("val-n-1")]
    entry = sealed(row(), settings=plain_settings(**settings), components=drawn)

    words = shlex.split(repeat.command(entry, present))

    flags = words[4::2]
    assert flags[5:] == [
        "selection=vote_count",
        "++scales.quick.finetune.learning_rate=0.5",
        "++datasets.combo-v2.new-train.subset=10%",
    ]
    path = tmp_path / "params.yaml"
    shutil.copy(PARAMS, path)
    apply_overrides(path, flags)
    changed = schema.resolve(schema.read(path))
    assert changed["scales"]["quick"] == scale
    assert changed["datasets"]["combo-v2"]["new-train"]["subset"] == "10%"
