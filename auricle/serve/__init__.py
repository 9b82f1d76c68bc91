"""A model as a service: recordings in over HTTP, tags out; and the page that shows them.

What the extra `serve` brings is imported by the modules that need it, not here.
"""

from auricle.serve.settings import Settings

__all__ = ["Settings"]
