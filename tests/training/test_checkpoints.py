import pytest

from arcmix import files
from arcmix.models import adapters, pretrained
from arcmix.training import checkpoints
from arcmix.training.checkpoints import MEASURED
from tests.training.test_trainer import settings

LOSSES = {0: 3.0, 2: 2.0, 4: 2.5, 6: 1.0}
FILES = ("optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json", "adapter.bin")


def write(folder, losses=LOSSES):
    """Write a checkpoint for each step but the first, and the best weights up to each."""
    steps = [*losses]
    for end in range(1, len(steps)):
        known = {step: losses[step] for step in steps[: end + 1]}
        weights = checkpoints.best(folder, known)
        files.write_text(weights / "weights", weights.name)
        checkpoint = folder / f"checkpoint-{steps[end]}"
        for name in FILES:
            files.write_text(checkpoint / name, f"{name} {end}")
        measured = [{"step": step, "val_loss": loss} for step, loss in known.items()]
        checkpoints.complete(checkpoint, measured)


def test_the_newest_checkpoint_is_returned_and_the_others_are_removed(tmp_path):
    write(tmp_path)
    last = checkpoints.newest(tmp_path)
    assert last is not None
    assert last == tmp_path / "checkpoint-6"
    assert [*tmp_path.glob("checkpoint-*")] == [last]
    assert [one["step"] for one in checkpoints.measured(last)] == [*LOSSES]


def test_a_folder_without_a_checkpoint_has_none(tmp_path):
    assert checkpoints.newest(tmp_path / "none") is None


def test_an_incomplete_checkpoint_is_removed_without_a_word(tmp_path, caplog):
    write(tmp_path)
    (tmp_path / "checkpoint-6" / MEASURED).unlink()
    assert checkpoints.newest(tmp_path) == tmp_path / "checkpoint-4"
    assert [one.name for one in tmp_path.glob("checkpoint-*")] == ["checkpoint-4"]
    assert caplog.messages == []


DAMAGES = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "garbage": lambda path: path.write_bytes(bytes(range(256))),
}
"""What happens to a file."""


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_checkpoint_is_logged_and_the_one_before_is_used(tmp_path, caplog, name, damage):
    write(tmp_path)
    damage(tmp_path / "checkpoint-6" / name)
    assert checkpoints.newest(tmp_path) == tmp_path / "checkpoint-4"
    message = f"{tmp_path / 'checkpoint-6'} is not used: {name} missing or damaged"
    assert caplog.messages == [message]


@pytest.mark.parametrize("text", ["", "null", "{}", "[]", '{"sha256": "", "values": []}'])
def test_a_checkpoint_with_damaged_measurements_is_not_used(tmp_path, caplog, text):
    write(tmp_path)
    path = tmp_path / "checkpoint-6" / MEASURED
    path.write_text(text)
    assert checkpoints.newest(tmp_path) == tmp_path / "checkpoint-4"
    assert caplog.messages == [f"{path} is damaged and is not used"]


@pytest.mark.parametrize("damage", [*DAMAGES.values()], ids=DAMAGES.keys())
def test_a_checkpoint_is_not_used_if_the_best_weights_up_to_it_are_damaged(
    tmp_path, caplog, damage
):
    write(tmp_path)
    damage(tmp_path / "best-6" / "weights")
    assert checkpoints.newest(tmp_path) == tmp_path / "checkpoint-4"
    damage(tmp_path / "best-2" / "weights")
    assert checkpoints.newest(tmp_path) is None
    assert [message.split(" is not used: ")[1] for message in caplog.messages] == [
        "best-6 missing or damaged",
        "best-2 missing or damaged",
    ]


def test_a_file_that_was_not_there_when_the_checkpoint_was_completed_does_not_matter(tmp_path):
    write(tmp_path)
    files.write_text(tmp_path / "checkpoint-6/.weights.abc.partial", "half")
    assert checkpoints.newest(tmp_path) == tmp_path / "checkpoint-6"


def test_the_best_weights_at_the_last_two_checkpoints_are_kept(tmp_path, base_model):
    model = adapters.attach(pretrained.load(base_model, "float32"), settings(), 0, [])
    losses = {0: 3.0, 2: 2.0, 4: 1.0, 6: 1.5, 8: 1.0, 10: 1.2, 12: 0.5}
    found = []
    for end in range(1, len(losses) + 1):
        steps = [*losses][:end]
        checkpoints.save_best(model, tmp_path, {step: losses[step] for step in steps})
        found.append({int(one.name.split("-")[1]) for one in tmp_path.iterdir()})
    assert found == [{0}, {0, 2}, {0, 2, 4}, {2, 4}, {4}, {4}, {4, 12}]


def test_a_part_of_best_weights_that_a_killed_run_left_is_replaced(tmp_path, base_model):
    model = adapters.attach(pretrained.load(base_model, "float32"), settings(), 0, [])
    files.write_text(tmp_path / "best-0/.weights.abc.partial", "half")
    checkpoints.save_best(model, tmp_path, {0: 1.0})
    assert not [*tmp_path.rglob("*.partial")]
    assert (tmp_path / "best-0/adapter_model.safetensors").exists()
