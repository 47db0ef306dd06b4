"""Tasks with hidden tests, from a challenges file of Kaggle: a map from ids to tasks."""

from pathlib import Path

from arcmix import files, parsing, tasks


def read(path: Path) -> list[tasks.Task]:
    """Return the tasks of a file in its order, with the outputs of all tests hidden.

    Outputs that the file has are left out, so that no answer can depend on them.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is no map of tasks, or a task is none. The message names the task.
    """
    values = files.read_json(path)
    if not isinstance(values, dict) or not values:
        raise ValueError(
            f"{path}: must map ids to tasks, got {type(values).__name__}; take a challenges file"
            " of Kaggle, such as arc-agi_test_challenges.json"
        )
    found = []
    for id_, value in values.items():
        try:
            parsing.check_names(id_)
            found.append(
                parsing.as_task(
                    id_,
                    value,
                    source="challenges",
                    split="test",
                    variation=0,
                    max_side=tasks.MAX_SIDE,
                    hidden=True,
                )
            )
        except ValueError as error:
            raise ValueError(f"{path}: task {id_!r}: {error}; correct the file") from error
    return found
