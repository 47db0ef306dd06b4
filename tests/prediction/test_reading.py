import pytest
import torch

from arcmix.models import pretrained
from arcmix.prediction import reading
from tests import families

TEXTS = [[*range(5, 15)], [20, 21, 22, 23], [30, 31, 32, 33, 34, 35]]


@pytest.mark.parametrize("family", ["smollm2", "gemma-2", "gemma-4", "gpt-oss"])
def test_a_model_that_reads_texts_alike_in_a_batch_and_alone_is_accepted(family):
    assert reading.check(families.model(family), TEXTS) < 1e-5


def test_a_model_that_ignores_the_mask_of_a_batch_is_refused(base_model):
    found = pretrained.load(base_model, "float32")
    read = found.forward
    found.forward = lambda **given: read(**given | {"attention_mask": None})
    with pytest.raises(ValueError, match=r"in a batch with others otherwise than alone: .* 0\.\d+"):
        reading.check(found, TEXTS)


def test_probabilities_that_are_no_numbers_are_refused(base_model):
    found = pretrained.load(base_model, "float32")
    with torch.no_grad():
        next(found.parameters()).fill_(float("nan"))
    with pytest.raises(ValueError, match="differ by nan"):
        reading.check(found, TEXTS)
