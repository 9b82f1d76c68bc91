"""What exporters and quantisers print for their developers, kept back."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def hushed(logger: str = "") -> Iterator[None]:
    """No warnings, prints or log below an error: what comes out is compared, and a failure becomes one line.

    Args:
        logger: name of the log that is held back; "" is the root.

    >>> with hushed():
    ...     print("advice")
    """
    log = logging.getLogger(logger or None)
    level = log.level
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        log.setLevel(logging.ERROR)
        try:
            yield
        finally:
            log.setLevel(level)
