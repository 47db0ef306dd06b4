"""Statistics of comparisons: what a difference between runs is worth."""
