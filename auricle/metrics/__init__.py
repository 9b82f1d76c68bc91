"""Metrics, in NumPy only."""
