"""From grids to token ids: grid encoders, prompts, tokenization."""
