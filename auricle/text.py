r"""Text that stays what it is wherever it is written: names of any bytes, messages of one line, terminals.

A name of a file that is not UTF-8 comes from the system with lone surrogates in it, which no encoding takes.
"""

import itertools
import os
import re
from collections.abc import Iterable, Iterator, Sequence

# What moves a terminal's cursor, breaks a line or turns its direction; and bytes of names that are not UTF-8.
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\udc80-\udcff]")


def as_utf8(text: str) -> str:
    r"""Text that every file can hold: bytes of a name that are not UTF-8 are spelled out.

    >>> as_utf8("caf\udce9.wav"), as_utf8("half a pair: \ud83d")
    ('caf\\xe9.wav', 'half a pair: \\ud83d')
    """
    try:
        text.encode("utf-8")
        return text
    except UnicodeEncodeError:
        pass
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # a surrogate that stands for no byte, from JSON perhaps
        return text.encode("utf-8", "backslashreplace").decode("utf-8")


def in_quotes(text: str) -> str:
    r"""Text that a field of CSV can hold: a carriage return, which csv leaves without quotes, is spelled out.

    >>> in_quotes("a\rb, c\nd")
    'a\\rb, c\nd'
    """
    return as_utf8(text).replace("\r", "\\r")


def one_line(text: str) -> str:
    r"""Text with line ends escaped, so that a message stays one line.

    >>> one_line("a\nb")
    'a\\nb'
    """
    return text.replace("\r", "\\r").replace("\n", "\\n")


def counted(number: int, thing: str) -> str:
    """A number of things.

    >>> counted(1, "window"), counted(2000, "window"), counted(2, "class")
    ('1 window', '2,000 windows', '2 classes')
    """
    plural = "" if number == 1 else "es" if thing.endswith(("s", "x", "ch", "sh")) else "s"
    return f"{number:,} {thing}{plural}"


def aligned(columns: Sequence[str], rows: Iterable[Sequence[str]], widths: Sequence[int]) -> Iterator[str]:
    """Lines of a plain table, its heads first. A column whose head ends in ">" is set to the right.

    >>> print(*aligned(["label", "score>"], [["rain", "0.91"]], [5, 5]), sep="|")
    label  score|rain    0.91
    """
    heads = [column.removesuffix(">") for column in columns]
    for row in itertools.chain([heads], rows):
        cells = [
            cell.rjust(width) if column.endswith(">") else cell.ljust(width)
            for cell, width, column in zip(row, widths, columns, strict=True)
        ]
        yield "  ".join(cells).rstrip()


def printable(path: str | os.PathLike[str]) -> str:
    r"""A path as one line that every file can hold.

    >>> printable("rain.wav"), printable("caf\udce9\n.wav")
    ('rain.wav', 'caf\\xe9\\n.wav')
    """
    return one_line(as_utf8(os.fspath(path)))


def for_terminal(text: str) -> str:
    r"""Text as one line that does nothing to a terminal, with everything else in it escaped.

    >>> print(for_terminal("take\x1b[2J\n1.wav"))
    take\x1b[2J\n1.wav
    """
    return UNPRINTABLE.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code - 0xDC00:02x}" if code >= 0xDC80 else match[0].encode("unicode_escape").decode()
