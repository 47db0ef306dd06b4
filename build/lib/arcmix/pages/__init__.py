"""Figures and HTML pages; a page needs no server and fetches nothing."""
