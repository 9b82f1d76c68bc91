"""How results, errors and warnings reach the user."""

import contextlib
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

import typer

from auricle.text import aligned, for_terminal

# Mistakes of people and machines; anything else is a defect of ours. FloatingPointError: a training diverged.
EXPECTED = (ValueError, OSError, FloatingPointError)
ARROW = re.compile(r"\[Errno \d+\] Failed to open local file '(.+)'\. Detail: \[errno \d+\] (.+)")
EXPECTED_FROM = ("auricle", "yaml")  # and what these define


def print_error(text: str) -> None:
    """Print one line to standard error.

    >>> print_error("nothing happens on standard output")
    """
    print(f"auricle: error: {for_terminal(text)}", file=sys.stderr)


def print_warning(text: str) -> None:
    """Print one line to standard error.

    >>> print_warning("nothing happens on standard output")
    """
    print(f"auricle: warning: {for_terminal(text)}", file=sys.stderr)


def describe(error: Exception) -> str:
    r"""An exception as one line that names what failed.

    >>> describe(ValueError("the pack has no split 'fold9';\nit has: fold1, fold2"))
    "the pack has no split 'fold9'; it has: fold1, fold2"
    >>> describe(FileNotFoundError(2, "No such file or directory", "a.wav"))
    'a.wav: No such file or directory'
    >>> describe(OSError("[Errno 13] Failed to open local file 'x.pq'. Detail: [errno 13] Permission denied"))
    'x.pq: Permission denied'
    """
    text = _joined(str(error))
    if isinstance(error, OSError) and (found := ARROW.fullmatch(text)):
        return f"{found[1]}: {found[2]}"
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    if isinstance(error, ModuleNotFoundError) and error.name:
        return missing(error.name)
    if isinstance(error, EXPECTED) or type(error).__module__.partition(".")[0] in EXPECTED_FROM:
        return text or type(error).__name__
    return f"{type(error).__name__}: {text} (not expected: AURICLE_DEBUG=1 shows where it arose)"


def _joined(text: str) -> str:
    return re.sub(r"\s*\n\s*", " ", text.strip())


def missing(module: str) -> str:
    """What to install for a module that is not there.

    >>> missing("torch")
    "this needs torch, which is not installed: pip install 'auricle[train]'"
    """
    extras = {
        "torch": "train",
        "tensorboard": "train",
        "onnx": "export",
        "onnxscript": "export",
        "ai_edge_litert": "tflite",
        "optuna": "sweep",
        "usearch": "search",
        "ray": "ray",
        "fsspec": "ray",
        "s3fs": "ray",
        "fastapi": "serve",
        "uvicorn": "serve",
        "python_multipart": "serve",
        "websockets": "serve",
        "prometheus_client": "serve",
    }
    name = module.split(".")[0]
    what = f"'auricle[{extras[name]}]'" if name in extras else name
    return f"this needs {name}, which is not installed: pip install {what}"


def refuse_file(folder: Path | None) -> None:
    """Say at once that results do not go into a file of that name.

    Raises:
        ValueError: it is a file.

    >>> refuse_file(Path("nowhere"))
    """
    if folder is not None and folder.is_file():
        raise ValueError(f"{folder}: is a file; give a folder")


def show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str = "",
    lineno: int = 0,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print a warning as one line on standard error: a stand-in for `warnings.showwarning`.

    Python's own warnings about code (deprecations and the like) are for developers and are left out.

    >>> show_warning("on standard error", UserWarning)
    """
    if issubclass(category, DeprecationWarning | PendingDeprecationWarning | ImportWarning | ResourceWarning):
        return
    print_warning(_joined(str(message)))


@contextlib.contextmanager
def opened(out: str) -> Iterator[TextIO]:
    """The stream that results are written to: standard output for "-", a new file otherwise.

    Raises:
        ValueError: standard output is closed, or there is no folder for the file.
        OSError: it cannot be written (a full disk, say); the error names it.

    >>> with opened("-") as stream:
    ...     print("result", file=stream)
    result
    """
    path = Path(out)
    if out == "-" and sys.stdout is None:
        raise ValueError("standard output is closed; open it, or name a file with --out")
    if out != "-" and not path.parent.is_dir():
        raise ValueError(f"{out}: the folder {path.parent} does not exist; create it or write elsewhere")
    try:
        if out == "-":
            yield sys.stdout
            sys.stdout.flush()
        else:
            with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
                yield stream
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.filename is not None or error.errno is None:  # of a file elsewhere, or of none
            raise
        raise OSError(error.errno, error.strerror, "standard output" if out == "-" else out) from error


def print_table(
    stream: TextIO, columns: Sequence[str], rows: Sequence[Sequence[str]], title: str = ""
) -> None:
    """Print rows under column heads: with colour on a terminal, as plain aligned text elsewhere.

    A column whose head ends in ">" is set to the right. Cells and title are made safe for a terminal.

    >>> import sys
    >>> print_table(sys.stdout, ["label", "score>"], [["rain", "0.91"], ["siren", "0.08"]])
    label  score
    rain    0.91
    siren   0.08
    """
    terminal = hasattr(stream, "isatty") and stream.isatty()
    heads = [column.removesuffix(">") for column in columns]
    title, rows = for_terminal(title), [[for_terminal(cell) for cell in row] for row in rows]
    if terminal:
        from rich.box import SIMPLE_HEAD
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=SIMPLE_HEAD, title=Text(title) if title else None, title_justify="left")
        for column, head in zip(columns, heads, strict=True):
            table.add_column(head, justify="right" if column.endswith(">") else "left", overflow="fold")
        for row in rows:
            table.add_row(*[Text(cell) for cell in row])
        Console(file=stream).print(table)  # rich itself respects NO_COLOR
        return
    widths = [max(len(cell) for cell in column) for column in zip(heads, *rows, strict=True)]
    if title:
        print(title, file=stream)
    for line in aligned(columns, rows, widths):
        print(line, file=stream)


def assignments(texts: Sequence[str], option: str) -> dict[str, str]:
    """`key=value` texts as a dict.

    Raises:
        typer.BadParameter: a text has no "=", or a key comes twice.

    >>> assignments(["epochs=3", "rate=0.001"], "--set")
    {'epochs': '3', 'rate': '0.001'}
    """
    found: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"{text!r} is not of the form KEY=VALUE", param_hint=option)
        if key in found:
            raise typer.BadParameter(f"{key!r} is given twice", param_hint=option)
        found[key] = value
    return found
