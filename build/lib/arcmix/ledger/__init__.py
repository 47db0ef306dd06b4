"""The ledger of runs: rows, fingerprints of code, DVC's cache, and the tables made from rows."""
