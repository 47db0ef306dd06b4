"""The symmetries of a grid: the eight of the square, and the relabelings of its colors.

Both are values that can be applied and undone. A grid is uint8 of shape (height, width).
"""

from dataclasses import dataclass

import numpy as np

from arcmix.tasks import COLORS

SYMMETRIES = 8
"""Number of symmetries of the square; number 0 changes nothing."""


@dataclass(frozen=True)
class View:
    """One way to look at a task: a symmetry of the square and a relabeling of the colors.

    Symmetry s flips left and right if s >= 4, and then turns s % 4 quarters against the
    clock (arc24 `geometric_augmentation`). `colors[c]` is the color that takes the place
    of c.
    """

    symmetry: int
    colors: tuple[int, ...]

    def apply(self, grid: np.ndarray) -> np.ndarray:
        """Return the grid as this view shows it; symmetries 1, 3, 5, 7 swap its sides."""
        return np.array(self.colors, np.uint8)[turn(grid, self.symmetry)]

    def invert(self, grid: np.ndarray) -> np.ndarray:
        """Return the grid that this view shows as `grid`."""
        turned = np.rot90(grid, -(self.symmetry % 4))
        back = np.fliplr(turned) if self.symmetry >= SYMMETRIES // 2 else turned
        return np.argsort(self.colors).astype(np.uint8)[back]


IDENTITY = View(0, tuple(range(COLORS)))
"""The view that changes nothing."""


def turn(grid: np.ndarray, symmetry: int) -> np.ndarray:
    """Return the grid under one of the eight symmetries of the square."""
    flipped = np.fliplr(grid) if symmetry >= SYMMETRIES // 2 else grid
    return np.rot90(flipped, symmetry % 4)


def color_maps(keys: np.ndarray, moves_background: np.ndarray) -> np.ndarray:
    """Return one relabeling of the colors for each row of random keys.

    Args:
        keys: Distinct random numbers, (n, 10).
        moves_background: Whether color 0 may move too, bool (n,).

    Returns:
        uint8, (n, 10): each row a permutation of 0-9; where the background stays put,
        color 0 is fixed and 1-9 are permuted (arc24 `swap_task_colors`).
    """
    kept = keys.copy()
    # The smallest key sorts first, so color 0 keeps its place.
    kept[~moves_background, 0] = 0
    return np.argsort(kept, axis=1, kind="stable").astype(np.uint8)
