"""Metrics with their meanings, a table a stage; `metrics.py` puts them together."""
