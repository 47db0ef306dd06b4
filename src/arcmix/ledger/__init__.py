"""One row a run, the code and the adapter behind it, and the table made from all rows."""
