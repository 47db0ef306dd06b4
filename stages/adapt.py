"""Stage `adapt`: fine-tune the adapter on each validation task at test time.

Reads the base model, the adapter folder and the validation tasks, of which it uses the
demonstrations. Writes a folder with an adapter for each task that got a better one, and one row
for each task with its outcome. Without steps to take, both are empty. A run that was killed resumes
with the next task when it is started again.
"""

from pathlib import Path
from typing import Annotated, Literal

from arcmix import files, program, tasks
from arcmix.config import params, scales
from arcmix.config.schema import At, Section
from arcmix.models import parallel
from arcmix.training import adaptation, outcomes


class Params(Section):
    """The values that the stage depends on."""

    seed: Annotated[int, At("seed")]
    """The experiment's seed."""
    init_seed: Annotated[int | Literal["seed"], At("init_seed")]
    """The seed of the adapter's dropout."""
    augment: Annotated[params.Augment, At("augment")]
    """How a sample differs from its task."""
    finetune: Annotated[scales.Finetune, At("scales.${scale}.finetune")]
    """The fine-tune that made the adapter."""
    test_time: Annotated[scales.TestTime, At("scales.${scale}.test_time")]
    """The fine-tuning on each task."""
    checkpoint: Annotated[Literal["best", "last"], At("checkpoint")]
    """The weights that each task starts from."""


def run(
    *,
    config: Params,
    code: Path,
    base_model: Path,
    adapter: Path,
    validation: Path,
    checkpoints: Path,
    adapted: Path,
    table: Path,
) -> None:
    """Fine-tune `adapter` on each task of `validation` into `adapted`; write outcomes to `table`.

    Finished tasks are kept in a folder of `checkpoints` until the end. The ranks share the tasks;
    the first rank writes.
    """
    # First, since a rank gets its device by it.
    is_main = parallel.is_main()
    rows, work = [], None
    if config.test_time.steps:
        key = files.key(config.model_dump_json(), [code, base_model, adapter, validation])
        work = checkpoints / key
        settings = adaptation.Settings(
            config.augment,
            config.finetune,
            config.test_time,
            config.seed,
            params.adapter_seed(config.seed, config.init_seed),
        )
        asked = tasks.read(validation)
        rows = adaptation.run(base_model, adapter, config.checkpoint, asked, settings, work)
    if is_main:
        adaptation.write_adapters(adapted, rows, work)
        outcomes.write(table, rows)
        if work is not None:
            files.discard(work)


if __name__ == "__main__":
    program.main(run)
    parallel.leave()
