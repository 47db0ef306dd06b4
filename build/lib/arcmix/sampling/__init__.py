"""From task tables to training samples: split, audit, mix, augmentation and the sample table."""
