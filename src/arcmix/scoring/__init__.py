"""What answers and losses are worth: metrics, means, submissions."""
