"""Answers to tests: views, search, candidates, selection."""
