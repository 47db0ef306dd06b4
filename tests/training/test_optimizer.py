import copy
import re

import peft
import pytest
import torch

from arcmix.models import pretrained
from arcmix.training import optimizer
from tests import tolerance

RATE, EARLIER = 0.001, 0.05
IDS = torch.tensor([[5, 9, 7, 6, 9, 8]])


def tuned(base_model, rank=4, targets: str | list[str] = "all-linear"):
    config = peft.LoraConfig(r=rank, target_modules=targets, task_type="CAUSAL_LM")
    return peft.get_peft_model(pretrained.load(base_model, "float32"), config)


def adamw(found, rate=RATE, reverse=False, fused=False):
    """Return an optimizer with two parameter groups, like that of the trainer."""
    trained = [one for one in found.parameters() if one.requires_grad]
    trained = trained[::-1] if reverse else trained
    groups = [
        {"params": trained[:3], "weight_decay": 0.1},
        {"params": trained[3:], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=rate, fused=fused)


def train(found, made, steps=3):
    for _ in range(steps):
        made.zero_grad()
        found(input_ids=IDS, labels=IDS).loss.backward()
        made.step()


def moments(found, made):
    return {name: made.state[one] for name, one in found.named_parameters() if one.requires_grad}


@pytest.fixture
def first(tmp_path, base_model):
    """A model after the first stage, its optimizer, and the file of its state."""
    found = tuned(base_model)
    made = adamw(found, EARLIER)
    train(found, made)
    path = tmp_path / "new/optimizer.safetensors"
    optimizer.save_state(path, made, found.named_parameters(), "adamw")
    return found, made, path


def load(path, found, made, kind="adamw", rates=(RATE, RATE)):
    optimizer.load_state(path, made, found.named_parameters(), kind, rates)


@pytest.mark.parametrize("reverse", [False, True])
def test_the_state_is_restored_by_name_and_the_settings_are_not(base_model, first, reverse):
    found, made, path = first
    second = tuned(base_model)
    fresh = adamw(second, reverse=reverse)

    load(path, second, fresh)

    before, after = moments(found, made), moments(second, fresh)
    assert before.keys() == after.keys()
    for name, state in before.items():
        assert state.keys() == after[name].keys() == {"exp_avg", "exp_avg_sq", "step"}
        assert all(torch.equal(state[key], after[name][key]) for key in state)
    assert [group["lr"] for group in fresh.param_groups] == [RATE, RATE]
    assert [group["weight_decay"] for group in fresh.param_groups] == [0.1, 0.0]
    assert any(state["exp_avg"].any() for state in after.values())


@pytest.mark.parametrize("fused", [False, True])
def test_the_fused_optimizer_of_a_card_takes_over_the_same_state(tmp_path, base_model, fused):
    """The state of one implementation goes on in the other as in itself."""
    torch.manual_seed(0)
    found = tuned(base_model)
    made = adamw(found, fused=fused)
    train(found, made)
    path = tmp_path / "optimizer.safetensors"
    optimizer.save_state(path, made, found.named_parameters(), "adamw")
    ends = []
    for other in (fused, not fused):
        second = copy.deepcopy(found)
        fresh = adamw(second, fused=other)
        load(path, second, fresh)
        train(second, fresh)
        ends.append([one.detach() for one in second.parameters() if one.requires_grad])
    for one, other in zip(*ends, strict=True):
        tolerance.assert_close(one, other, tolerance.training("float32"))


def test_torch_would_restore_the_earlier_learning_rate(base_model, first):
    _, made, path = first
    second = tuned(base_model)
    fresh = adamw(second)

    fresh.load_state_dict(made.state_dict())

    assert [group["lr"] for group in fresh.param_groups] == [EARLIER, EARLIER]
    with pytest.raises(
        ValueError, match=r"rates \[0.05, 0.05\], but the schedule requires \[0.001, 0"
    ):
        load(path, second, fresh)


def test_training_with_a_loaded_state_continues_as_if_it_had_not_stopped(base_model, first):
    found, made, path = first
    resumed, afresh = tuned(base_model), tuned(base_model)
    for other in (resumed, afresh):
        other.load_state_dict(found.state_dict())
    taken, new = adamw(resumed, EARLIER), adamw(afresh, EARLIER)
    load(path, resumed, taken, rates=(EARLIER, EARLIER))
    for one, its in ((found, made), (resumed, taken), (afresh, new)):
        train(one, its, steps=2)

    weights = [
        torch.cat([part.detach().flatten() for part in one.parameters() if part.requires_grad])
        for one in (found, resumed, afresh)
    ]
    # The steps are the same, on the same machine, from a copied state.
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_the_state_of_another_kind_of_optimizer_is_refused(base_model, first):
    second = tuned(base_model)
    message = "the state of optimizer adamw, but this run uses paged_adamw_8bit; set init.optimizer"
    with pytest.raises(ValueError, match=message):
        load(first[2], second, adamw(second), kind="paged_adamw_8bit")


def test_the_state_of_an_adapter_with_another_rank_is_refused(base_model, first):
    second = tuned(base_model, rank=5)
    fresh = adamw(second)
    message = r"lora_A.* has shape \(5, 32\), but its first moment has \[\(4, 32\)\]; set init"
    with pytest.raises(ValueError, match=message):
        load(first[2], second, fresh)
    assert not fresh.state


def test_the_state_of_an_adapter_on_other_layers_is_refused(base_model, first):
    second = tuned(base_model, targets=["q_proj"])
    message = re.escape("28 parameters, but this run trains 4; 24 are not in both, such as")
    with pytest.raises(ValueError, match=message):
        load(first[2], second, adamw(second))


def test_an_integer_step_count_stays_an_integer(tmp_path):
    weight = torch.nn.Parameter(torch.ones(2, 3))
    made = torch.optim.SGD([weight])
    made.state[weight] = {"step": 7, "state1": torch.zeros(2, 3, dtype=torch.uint8)}
    path = tmp_path / "optimizer.safetensors"
    optimizer.save_state(path, made, [("weight", weight)], "paged_adamw_8bit")
    fresh = torch.optim.SGD([weight], lr=RATE)

    optimizer.load_state(path, fresh, [("weight", weight)], "paged_adamw_8bit", [RATE])

    assert isinstance(fresh.state[weight]["step"], int)
    assert fresh.state[weight]["step"] == 7
