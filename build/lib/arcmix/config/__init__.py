"""`params.yaml`: its types, its reader, and the check that it is consistent."""
