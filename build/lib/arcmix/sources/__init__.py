"""Sources of tasks: one module for each kind."""
