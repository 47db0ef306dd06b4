"""Scores of answers and means of losses: metrics, tables, submissions."""
