import torch

from arcmix.prediction import shapes


def test_sizes_are_rounded_up_to_powers_of_two_and_then_to_multiples():
    assert [shapes.rounded(size, 16) for size in (1, 2, 3, 5, 9, 16, 17, 33)] == [
        *(1, 2, 4, 8, 16, 16, 32, 48)
    ]
    assert [shapes.rounded(size, 1) for size in (1, 2, 3, 77)] == [1, 2, 3, 77]


def test_only_a_cpu_has_exact_shapes():
    assert shapes.shapes_of(torch.device("cpu")) == shapes.EXACT
    assert shapes.shapes_of(torch.device("cuda")) == shapes.ROUNDED
    assert shapes.shapes_of(torch.device("mps")) == shapes.ROUNDED
