"""One program for each DVC stage, of the same name."""
