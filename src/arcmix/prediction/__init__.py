"""From a test to ranked answers: views, search, candidates, selection."""
