"""Figures of merit, in NumPy only."""
