"""Stage `adapt`: fine-tune the adapter on each validation task at test time.

Reads the base model, the adapter folder and the validation tasks, and uses only the demonstrations
of the tasks. Writes a folder with an adapter for each task whose loss improved, a table with the
outcome of each task, and the machines. With `test_time.steps` 0, folder and table are empty. A
killed run resumes with the next task when it is started again.
"""

from pathlib import Path
from typing import Annotated

from arcmix import files, machines, program, tasks
from arcmix.config import params, scales
from arcmix.config.schema import At, Section, Seed
from arcmix.models import numerics, parallel
from arcmix.training import adaptation, outcomes, work
from arcmix.training.plan import adapter_seed


class Params(Section):
    """The values that the stage depends on."""

    seed: Annotated[Seed, At("seed")]
    """Seed of the experiment."""
    init_seed: Annotated[params.InitSeed, At("init_seed")]
    """Seed of the adapter's dropout."""
    augment: Annotated[params.Augment, At("augment")]
    """Augmentation of the samples."""
    finetune: Annotated[scales.Finetune, At("scales.${scale}.finetune")]
    """Settings of the fine-tune that made the adapter."""
    test_time: Annotated[scales.TestTime, At("scales.${scale}.test_time")]
    """Settings of the fine-tuning on each task."""
    checkpoint: Annotated[params.Checkpoint, At("checkpoint")]
    """The weights of the fine-tune that each task starts from."""


def run(  # noqa: PLR0913 - a stage's arguments are its files
    *,
    config: Params,
    code: Path,
    base_model: Path,
    adapter: Path,
    validation: Path,
    checkpoints: Path,
    adapted: Path,
    table: Path,
    machine: Path,
) -> None:
    """Fine-tune `adapter` on each task of `validation` into `adapted`; write outcomes to `table`.

    Finished tasks lie in a folder in `checkpoints`, where an equal run finds them. The ranks share
    the tasks; rank 0 writes the results.
    """
    # This call comes first, because it assigns the device of this rank.
    is_main = parallel.is_main()
    if not config.test_time.steps:
        if is_main:
            adaptation.write_adapters(adapted, [], None)
            outcomes.write(table, [])
            machines.write(machine, numerics.machine())
        return
    key = files.key(
        f"{config.model_dump_json()} {numerics.found()}", [code, base_model, adapter, validation]
    )
    settings = adaptation.Settings(
        config.augment,
        config.finetune,
        config.test_time,
        config.seed,
        adapter_seed(config.seed, config.init_seed),
        adaptation.group_tokens(config.finetune),
    )
    with work.held(checkpoints, key) as folder:
        asked = tasks.read(validation, hidden=True)
        rows = adaptation.run(base_model, adapter, config.checkpoint, asked, settings, folder)
        if is_main:
            adaptation.write_adapters(adapted, rows, folder)
            outcomes.write(table, rows)
            machines.write(machine, numerics.machine())


if __name__ == "__main__":
    program.main(run)
    parallel.leave()
