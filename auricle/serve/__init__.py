"""A model as a service: recordings in over HTTP, tags out; and the page that shows them.

Imports nothing here: what is needed of the extra `serve` is imported by the modules that need it.
"""
