"""What `params.yaml` holds: its types, how stages read it, and whether it is consistent."""
