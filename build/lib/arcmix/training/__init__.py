"""Train an adapter: the fine-tune on all samples, and test-time fine-tuning on single tasks."""
