"""Where tasks come from: one module for each way to get them."""
