"""Invertible transformations of a grid: symmetries, color permutations, padding and others.

A grid is a uint8 array of shape (height, width).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from arcmix import integers

SYMMETRIES = 8
"""Number of symmetries of the square; number 0 is the identity."""


@dataclass(frozen=True)
class Transform:
    """A change of all grids of a task: a symmetry of the square and a permutation of the colors.

    Symmetry s first flips left and right if s >= 4, and then rotates counterclockwise by s % 4
    quarter turns (arc24 `geometric_augmentation`). `colors[c]` replaces color c.
    """

    symmetry: int
    colors: tuple[int, ...]

    def apply(self, grid: np.ndarray) -> np.ndarray:
        """Return the view of a grid; symmetries 1, 3, 5 and 7 swap height and width."""
        return np.array(self.colors, np.uint8)[turn(grid, self.symmetry)]

    def invert(self, grid: np.ndarray) -> np.ndarray:
        """Return the grid whose view is `grid`."""
        return integers.narrowed(np.argsort(self.colors), np.uint8)[turn_back(grid, self.symmetry)]


def turn(grid: np.ndarray, symmetry: int) -> np.ndarray:
    """Apply one of the eight symmetries of the square to a grid."""
    flipped = np.fliplr(grid) if symmetry >= SYMMETRIES // 2 else grid
    return np.rot90(flipped, symmetry % 4)


def turn_back(grid: np.ndarray, symmetry: int) -> np.ndarray:
    """Apply the inverse of a symmetry to a grid."""
    turned = np.rot90(grid, -(symmetry % 4))
    return np.fliplr(turned) if symmetry >= SYMMETRIES // 2 else turned


@dataclass(frozen=True)
class Turn:
    """One of the eight symmetries of the square, numbered as in `Transform`."""

    symmetry: int

    def apply(self, grid: np.ndarray) -> np.ndarray:
        """Apply the symmetry to a grid."""
        return turn(grid, self.symmetry)

    def invert(self, grid: np.ndarray) -> np.ndarray:
        """Apply the inverse symmetry to a grid."""
        return turn_back(grid, self.symmetry)


@dataclass(frozen=True)
class Padding:
    """A frame of one color: `rows` above and below the grid, `columns` left and right."""

    rows: int
    columns: int
    color: int

    def apply(self, grid: np.ndarray) -> np.ndarray:
        """Add the frame to a grid."""
        height, width = grid.shape
        shape = (height + 2 * self.rows, width + 2 * self.columns)
        framed = np.full(shape, self.color, np.uint8)
        framed[self.rows : self.rows + height, self.columns : self.columns + width] = grid
        return framed

    def invert(self, grid: np.ndarray) -> np.ndarray:
        """Remove the frame from a grid."""
        height, width = grid.shape
        return grid[self.rows : height - self.rows, self.columns : width - self.columns]


@dataclass(frozen=True)
class Upscale:
    """An enlargement: each cell becomes a block of `rows` by `columns` cells."""

    rows: int
    columns: int

    def apply(self, grid: np.ndarray) -> np.ndarray:
        """Enlarge a grid."""
        return grid.repeat(self.rows, axis=0).repeat(self.columns, axis=1)

    def invert(self, grid: np.ndarray) -> np.ndarray:
        """Shrink each block of a grid to one cell."""
        return grid[:: self.rows, :: self.columns]


@dataclass(frozen=True)
class Mirror:
    """The grid and its mirror image, joined along an axis: axis 0 doubles the height."""

    axis: Literal[0, 1]
    image_first: bool
    """Whether the image is above or to the left of the grid, not below or to the right."""

    def apply(self, grid: np.ndarray) -> np.ndarray:
        """Join a grid and its image."""
        image = np.flip(grid, self.axis)
        return np.concatenate([image, grid] if self.image_first else [grid, image], self.axis)

    def invert(self, grid: np.ndarray) -> np.ndarray:
        """Return the half of a grid that is not the image."""
        return np.split(grid, 2, self.axis)[int(self.image_first)]


Change = Turn | Padding | Upscale | Mirror
"""A transformation that creates a new task if it is applied only to inputs or only to outputs."""


def color_maps(keys: np.ndarray, moves_background: np.ndarray) -> np.ndarray:
    """Return one permutation of the colors for each row of random keys.

    Args:
        keys: Distinct random numbers, (n, 10).
        moves_background: Whether color 0 is permuted too, bool (n,).

    Returns:
        uint8, (n, 10): each row is a permutation of 0-9. If color 0 is not permuted, only 1-9
        are (arc24 `swap_task_colors`).
    """
    kept = keys.copy()
    # The smallest key sorts first, so color 0 stays in place.
    kept[~moves_background, 0] = 0
    return integers.narrowed(np.argsort(kept, axis=1, kind="stable"), np.uint8)
