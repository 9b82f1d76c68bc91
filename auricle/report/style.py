"""How every figure looks: colours that colour-blind readers tell apart, legible text, no state left behind.

No figure here goes through pyplot: a `Figure` belongs to whoever made it, and is gone with it.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

# Okabe and Ito (2008): told apart with any of the common forms of colour blindness.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GREY = "#666666"
SETTINGS: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: figures look alike everywhere
    "font.size": 10.0,
    "axes.titlesize": 11.0,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.grid": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "text.parse_math": False,  # a label may hold a dollar sign
    "svg.hashsalt": "auricle",  # the same figure, the same bytes
    "legend.frameon": False,
}
SUFFIXES = (".png", ".svg", ".pdf")


@contextmanager
def drawing() -> Iterator[None]:
    """Figures made inside look like ours; whatever the caller had set is back afterwards.

    >>> with drawing():
    ...     matplotlib.rcParams["text.parse_math"]
    False
    """
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        # A label in a script that the font has not: its boxes are not worth a line for each letter.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def save(figure: Figure, path: str | Path, dpi: int = 110) -> None:
    """Write a figure as PNG, SVG or PDF, by the suffix.

    Raises:
        ValueError: another suffix.
        OSError: it cannot be written.

    >>> save(Figure(), "figure.bmp")
    Traceback (most recent call last):
    ValueError: figure.bmp: figures are written as .png, .svg or .pdf
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"{path}: figures are written as {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
    # No date: the same figure, the same bytes.
    dated = {".svg": "Date", ".pdf": "CreationDate"}.get(suffix)
    with drawing():
        content = io.BytesIO()
        metadata = {dated: None} if dated else None
        figure.savefig(content, format=suffix[1:], dpi=dpi, metadata=metadata)
    Path(path).write_bytes(content.getvalue())
