"""What can be done to a grid: symmetries of the square, relabelings of its colors, and more.

All are values that can be applied and undone. A grid is uint8 of shape (height, width).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

SYMMETRIES = 8
"""Number of symmetries of the square; number 0 changes nothing."""


@dataclass(frozen=True)
class Transform:
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
        return np.argsort(self.colors).astype(np.uint8)[turn_back(grid, self.symmetry)]


def turn(grid: np.ndarray, symmetry: int) -> np.ndarray:
    """Return the grid under one of the eight symmetries of the square."""
    flipped = np.fliplr(grid) if symmetry >= SYMMETRIES // 2 else grid
    return np.rot90(flipped, symmetry % 4)


def turn_back(grid: np.ndarray, symmetry: int) -> np.ndarray:
    """Return the grid that looks like this one under a symmetry."""
    turned = np.rot90(grid, -(symmetry % 4))
    return np.fliplr(turned) if symmetry >= SYMMETRIES // 2 else turned


@dataclass(frozen=True)
class Turn:
    """One of the eight symmetries of the square, numbered as in `Transform`."""

    symmetry: int

    def apply(self, grid: np.ndarray) -> np.ndarray:
        """Return the grid under the symmetry."""
        return turn(grid, self.symmetry)

    def invert(self, grid: np.ndarray) -> np.ndarray:
        """Return the grid of which `grid` is the image."""
        return turn_back(grid, self.symmetry)


@dataclass(frozen=True)
class Padding:
    """A frame of one color: so many rows above and below, so many columns left and right."""

    rows: int
    columns: int
    color: int

    def apply(self, grid: np.ndarray) -> np.ndarray:
        """Return the framed grid."""
        height, width = grid.shape
        shape = (height + 2 * self.rows, width + 2 * self.columns)
        framed = np.full(shape, self.color, np.uint8)
        framed[self.rows : self.rows + height, self.columns : self.columns + width] = grid
        return framed

    def invert(self, grid: np.ndarray) -> np.ndarray:
        """Return the grid inside of the frame."""
        height, width = grid.shape
        return grid[self.rows : height - self.rows, self.columns : width - self.columns]


@dataclass(frozen=True)
class Upscale:
    """Each cell becomes a block of so many rows and columns."""

    rows: int
    columns: int

    def apply(self, grid: np.ndarray) -> np.ndarray:
        """Return the enlarged grid."""
        return grid.repeat(self.rows, axis=0).repeat(self.columns, axis=1)

    def invert(self, grid: np.ndarray) -> np.ndarray:
        """Return the grid with a cell for each block."""
        return grid[:: self.rows, :: self.columns]


@dataclass(frozen=True)
class Mirror:
    """The grid and its mirror image, side by side along an axis: 0 doubles the height."""

    axis: Literal[0, 1]
    image_first: bool
    """Whether the image stands above or to the left of the grid, not below or to the right."""

    def apply(self, grid: np.ndarray) -> np.ndarray:
        """Return the doubled grid."""
        image = np.flip(grid, self.axis)
        return np.concatenate([image, grid] if self.image_first else [grid, image], self.axis)

    def invert(self, grid: np.ndarray) -> np.ndarray:
        """Return the half that is not the image."""
        return np.split(grid, 2, self.axis)[int(self.image_first)]


Change = Turn | Padding | Upscale | Mirror
"""What makes a new task of an old one if only the inputs or only the outputs undergo it."""


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
