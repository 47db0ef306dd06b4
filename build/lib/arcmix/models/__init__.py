"""Language models: fetch, load, adapt, compute losses, run in several processes."""
