"""The library below the stages: pure functions, strictly layered (docs/architecture.md)."""
