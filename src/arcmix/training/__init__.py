"""From samples and a base model to an adapter: the fine-tune, and test-time fine-tuning."""
