import numpy as np
import torch

from benchmarks import padding


def test_padding_is_on_the_left_and_masked():
    ids, mask, positions = padding.left_padded(
        [np.array([5, 6, 7]), np.array([8])], torch.device("cpu")
    )
    assert ids.tolist() == [[5, 6, 7], [0, 0, 8]]
    assert mask.tolist() == [[1, 1, 1], [0, 0, 1]]
    assert positions.tolist() == [[0, 1, 2], [0, 0, 0]]
