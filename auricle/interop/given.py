"""What has to be known of a published graph beside the graph: labels, rate, its output and what that is."""

import codecs
import csv
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from auricle.datasets.audioset_labels import VOCABULARIES
from auricle.datasets.audioset_labels import labels as audioset_labels
from auricle.datasets.label_maps import near_names
from auricle.tables import header_of, read_text, read_text_table

FEW = 5  # outputs of two sounds: so few logits may lie between 0 and 1, too
LABEL_COLUMNS = ("display_name", "label", "name", "category")
PAGE = ("<!doctype html", "<html", "<head", "<body", "<script")
LOOKED_AT, QUOTED = 512, 40  # bytes of a file's beginning, characters of it that are quoted
BINARY = {*range(32), 127} - {*b"\t\n\f\r\x1b"}  # bytes that no text has


def refuse_text(path: Path) -> None:
    """Refuse a file of weights that is a web page, a text or nothing at all, before any reader is asked.

    Such files come of sites that ask for a login first, and of clones without Git LFS. None of the forms of
    weights begins like a text: ZIP files and pickles of PyTorch, HDF5, safetensors, ONNX, TFLite.

    >>> refuse_text(Path(__file__))
    Traceback (most recent call last):
    ValueError: ...given.py: not a file of weights that can be read, but a text; it begins with '...'
    """
    with path.open("rb") as stream:
        if what := text_in(stream.read(LOOKED_AT)):
            raise ValueError(f"{path}: not a file of weights that can be read, but {what}")


def text_in(beginning: bytes) -> str:
    r"""What a file is that begins like this, where it is a text or nothing; empty where it may be weights.

    >>> text_in(b"<html><body>Welcome to our network"), text_in(b"PK\x03\x04")
    ("a web page; it begins with '<html><body>Welcome to our network'", '')
    >>> text_in(b"")
    'an empty one'
    """
    if not beginning:
        return "an empty one"
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(beginning)  # the last letter may be cut
    except UnicodeDecodeError:
        text = ""
    page = text.lstrip().lower().startswith(PAGE)
    if not page and (not text or BINARY & set(beginning)):
        return ""
    first = " ".join(text.split())
    shown = first if len(first) <= QUOTED else f"{first[:QUOTED]}..."
    return f"{'a web page' if page else 'a text'}; it begins with {shown!r}"


def read_labels(file: str | Path) -> list[str]:
    """Labels from a text file, one a line, or from a CSV table with a row for each output, in their order.

    In a table they are the column display_name, label, name or category, the first of these that is there, in
    capitals or not; a column "index", if there is one, must count from 0. Blanks around labels go. In place
    of a file, audioset-527 (also panns, efficientat, 527) and audioset-521 (also yamnet, 521) name the lists
    that come with the package; a file of that name goes before.

    Raises:
        ValueError: no such file or list, no such column, rows out of order, a row without a label, or a label
            twice.

    >>> read_labels("audioset-521")[:2]
    ['Speech', 'Child speech, kid speaking']
    """
    labels = _read_labels(file)
    refuse_twice(labels, file)
    return labels


def refuse_twice(labels: Sequence[str], source: str | Path) -> None:
    """Refuse labels of which two are the same, by the name of where they stand.

    >>> refuse_twice(["dog", "rain", "dog"], "labels.txt")
    Traceback (most recent call last):
    ValueError: labels.txt: 'dog' is there for output 0 and for output 2; every output needs a name of its own
    """
    if len(set(labels)) == len(labels):
        return
    first: dict[str, int] = {}
    for number, label in enumerate(labels):
        if first.setdefault(label, number) != number:
            raise ValueError(
                f"{source}: {label!r} is there for output {first[label]} and for output {number}; every "
                "output needs a name of its own"
            )


def _read_labels(file: str | Path) -> list[str]:
    if not Path(file).is_file():
        if str(file) in VOCABULARIES:
            return audioset_labels(str(file))
        near = near_names(str(file), VOCABULARIES, most=1)
        if not Path(file).exists() and (near or not Path(file).suffix):
            meant = f" (did you mean {near[0]}?)" if near else ""
            raise ValueError(
                f"{file}: no such file, and no list of that name{meant}; lists are {', '.join(VOCABULARIES)}"
            )
    head, table = header_of(Path(file)), Path(file).suffix.lower() == ".csv"
    if not _has_label_column(head):
        if len(head) > 1 and table:
            raise ValueError(
                f"{file}: expected a column {', '.join(LABEL_COLUMNS)}; got {', '.join(head)}; where these "
                "are a sound already, put a line above it that names the columns"
            )
        lines = [line.strip() for line in read_text(Path(file)).splitlines() if line.strip()]
        return [_only_field(line) for line in lines] if table else lines
    labels = []
    for number, (line, fields) in enumerate(read_text_table(Path(file))[1]):
        row = {name.lower(): text.strip() for name, text in fields.items()}
        if row.get("index", str(number)) != str(number):
            raise ValueError(
                f"{file}: row {line} has index {row['index']!r}; expected {number}: rows in the order of the "
                "outputs"
            )
        label = next(row[name] for name in LABEL_COLUMNS if name in row)
        if not label:
            raise ValueError(f"{file}: row {line} has no label; every output needs a name of its own")
        labels.append(label)
    return labels


def _has_label_column(head: Sequence[str]) -> bool:
    return any(name.lower() in LABEL_COLUMNS for name in head)


def _only_field(line: str) -> str:
    """A line of a table of one column: without quotation marks around it; as it is where commas are bare.

    >>> _only_field('"Rain, heavy"'), _only_field("Rain, heavy")
    ('Rain, heavy', 'Rain, heavy')
    """
    fields = next(csv.reader([line]))
    return fields[0].strip() if len(fields) == 1 else line


def labels_for(labels: str | Path | Sequence[str], sizes: Sequence[int]) -> list[str]:
    """Labels as they were given, a list or a file of them, of a graph with outputs of these sizes.

    A CSV file of one column may have a head of any name, as Perch's does: its first line is taken for one
    where only that makes the labels as many as an output has values.

    >>> labels_for(["dog", "rain"], [2])
    ['dog', 'rain']
    """
    if not isinstance(labels, str | Path):
        return list(labels)
    names = _read_labels(labels)
    headed = Path(labels).suffix.lower() == ".csv" and not _has_label_column(header_of(Path(labels)))
    if headed and len(names) not in sizes and len(names) - 1 in sizes:
        names = names[1:]
    refuse_twice(names, labels)
    return names


def refuse_missing(path: Path, given: dict[str, tuple[bool, str]]) -> None:
    """Refuse a file that does not say what was not given either, in one line with the options that do.

    Args:
        path: of the file.
        given: what it is -> whether it is there, and the option that gives it.

    >>> refuse_missing(Path("x.onnx"), {"rate": (False, "--rate HZ"), "window": (True, "--window SAMPLES")})
    Traceback (most recent call last):
    ValueError: x.onnx: carries no rate; give one with --rate HZ
    """
    missing = {what: option for what, (there, option) in given.items() if not there}
    if missing:
        what, options = (" and ".join(parts) for parts in (missing, missing.values()))
        them = "one" if len(missing) == 1 else "them"
        raise ValueError(
            f"{path}: carries no {what.replace(' and ', ' and no ')}; give {them} with {options}"
        )


def refuse_other_rate(said: int, given: int | None) -> None:
    """Refuse a rate that contradicts what a file says of its sound: scores would be wrong, and nobody told.

    >>> refuse_other_rate(16000, 44100)
    Traceback (most recent call last):
    ValueError: its metadata say 16000 samples a second, not 44100; leave --rate out
    """
    if said and given not in (None, said):
        raise ValueError(f"its metadata say {said} samples a second, not {given}; leave --rate out")


def choose_output(outputs: Sequence[tuple[str, int]], wanted: int | str, count: int) -> int:
    """Which of a graph's outputs the labels are of.

    Args:
        outputs: name and number of values of each.
        wanted: its name, else its number; empty: the only one, or the only one with as many values as labels.
        count: how many labels there are.

    Raises:
        ValueError: there is no such output, or several could be meant; the message lists them.

    >>> choose_output([("embedding", 1536), ("label", 14795)], "", 14795)
    1
    """
    listed = ", ".join(f"{name} ({size} values)" for name, size in outputs)
    named = [number for number, (name, _) in enumerate(outputs) if name == wanted]
    if named:  # before numbers: exporters give names like "547", too
        return named[0]
    if isinstance(wanted, int) or wanted.isdigit():
        number = int(wanted)
        if not 0 <= number < len(outputs):
            raise ValueError(
                f"output {wanted}: the graph has outputs 0 to {len(outputs) - 1}, which are {listed}"
            )
        return number
    if wanted:
        raise ValueError(f"has no output {wanted!r}; there are {listed}")
    fitting = [number for number, (_, size) in enumerate(outputs) if size == count]
    if len(outputs) == 1:
        return 0
    if len(fitting) != 1:
        rows = next((said for _, size in outputs if (said := _rows(size, count))), "")
        raise ValueError(f"which output is for the {count} labels? say it with --output: {listed}{rows}")
    return fitting[0]


def refuse_other_count(size: int, count: int) -> None:
    """Refuse labels that are not as many as an output has values.

    >>> refuse_other_count(20, 10)
    Traceback (most recent call last):
    ValueError: 20 outputs, but 10 labels; give the list made for it; 20 are 2 rows of 10: a graph that ...
    """
    if size != count:
        raise ValueError(f"{size} outputs, but {count} labels; give the list made for it{_rows(size, count)}")


def _rows(size: int, count: int) -> str:
    """What may be meant by several times as many values as labels."""
    if not count or size == count or size % count:
        return ""
    return (
        f"; {size} are {size // count} rows of {count}: a graph that gives a row for each part of its window "
        "wants a --window that gives one"
    )


def refuse_far_hop(hop: int, window: int) -> None:
    """Refuse windows so far apart that what is between them is never heard.

    >>> refuse_far_hop(500, 400)
    Traceback (most recent call last):
    ValueError: hop is 500 samples, more than a window of 400: what is between would not be heard
    """
    if hop > window:
        raise ValueError(
            f"hop is {hop} samples, more than a window of {window}: what is between would not be heard"
        )


def refuse_other_outputs(path: Path, outputs: np.ndarray, scores: bool) -> None:
    """Refuse what a graph gives where it is not what was declared.

    >>> refuse_other_outputs(Path("x.onnx"), np.array([-3.0, 2.0]), scores=True)
    Traceback (most recent call last):
    ValueError: x.onnx: gives -3 to 2, which are no scores: declare them logits (--outputs logits)
    """
    if not np.isfinite(outputs).all():
        raise ValueError(
            f"{path}: gives values that are not finite; the graph is broken, or takes another input"
        )
    within = bool(outputs.min() >= 0 and outputs.max() <= 1)
    found = f"{path}: gives {outputs.min():.3g} to {outputs.max():.3g}"
    if scores and not within:
        raise ValueError(f"{found}, which are no scores: declare them logits (--outputs logits)")
    if not scores and within and outputs.size >= FEW:  # of a few, logits may lie so, too
        raise ValueError(f"{found}, which are scores: leave --outputs logits out")


def origin(path: Path) -> dict[str, str]:
    """Name and SHA-256 of a file, as a model of it keeps them.

    >>> origin(Path("yamnet.h5"))["file"]  # doctest: +SKIP
    'yamnet.h5'
    """
    with path.open("rb") as stream:
        return {"file": path.name, "sha256": hashlib.file_digest(stream, "sha256").hexdigest()}


def check_waveforms(window: int, rate: int) -> np.ndarray:
    """(2, window) float32 for an artifact's check: noise that swells, and a tone over faint noise.

    >>> check_waveforms(8000, 16000).shape
    (2, 8000)
    """
    noise = np.random.default_rng(0).standard_normal((2, window))
    time = np.arange(window) / rate
    swelling = 0.2 * noise[0] * np.linspace(0, 1, window)
    tone = 0.5 * np.sin(2 * np.pi * 440 * time) + 0.003 * noise[1]
    return np.stack([swelling, tone]).clip(-1, 1).astype(np.float32)
