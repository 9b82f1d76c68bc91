"""How every figure looks: colours that colour-blind readers tell apart, legible text, no state left behind.

No figure here goes through pyplot: a `Figure` belongs to whoever made it, and is gone with it.
"""

import io
import warnings
from collections.abc import Iterable, Iterator
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
        # A label in a script that the font has not: `undrawable` says so once, not for each letter.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def shortened(label: str, most: int = 32) -> str:
    """A label cut with an ellipsis where it is longer than `most` letters.

    >>> shortened("Livestock, farm animals, working animals", 20)
    'Livestock, farm ani…'
    """
    return label if len(label) <= most else label[: most - 1] + "…"


def undrawable(texts: Iterable[str]) -> list[str]:
    """A warning, where the font of figures lacks letters; at most one.

    >>> undrawable(["chat", "\u96e8"])[0][:50]
    'the font of pictures and films lacks 1 letter (\u96e8):'
    >>> undrawable(["chat"])
    []
    """
    from matplotlib.font_manager import findfont, get_font

    known = get_font(findfont("DejaVu Sans")).get_charmap()
    lacking = sorted(
        {sign for text in texts for sign in text if ord(sign) not in known and sign.isprintable()}
    )
    if not lacking:
        return []
    some = "".join(lacking[:10]) + ("…" if len(lacking) > 10 else "")
    letters = "1 letter" if len(lacking) == 1 else f"{len(lacking)} letters"
    return [
        f"the font of pictures and films lacks {letters} ({some}): boxes stand for them; "
        "pages (.html) show them"
    ]


def save(figure: Figure, path: str | Path, dpi: int = 110, *, title: str = "") -> None:
    """Write a figure as PNG, SVG or PDF, by the suffix; `title` is what the file says that it is.

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
        metadata = ({dated: None} if dated else {}) | ({"Title": title} if title else {})
        figure.savefig(content, format=suffix[1:], dpi=dpi, metadata=metadata)
    Path(path).write_bytes(content.getvalue())
