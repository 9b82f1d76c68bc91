"""Figures: arrays and folders of results -> pictures, pages and videos; the only importer of matplotlib.

No torch, and nothing here scores a recording: what is drawn comes in as arrays.
"""
