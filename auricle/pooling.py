"""By which rule the scores of a recording's windows become the recording's: names, and a model's own."""

from typing import Any

POOLINGS = {"mean": "mean", "max": "greatest", "attention": "weighted mean"}  # name -> in words


def pooling_of(artifact: Any) -> str:
    """A model's rule, one of `POOLINGS`: its own, or the mean; of a net that decides for steps the greatest.

    >>> from types import SimpleNamespace
    >>> pooling_of(SimpleNamespace(pooling="", step=0)), pooling_of(SimpleNamespace(pooling="", step=160))
    ('mean', 'max')
    """
    return str(getattr(artifact, "pooling", "") or ("max" if getattr(artifact, "step", 0) else "mean"))
