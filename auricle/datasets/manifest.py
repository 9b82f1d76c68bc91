"""A table of recordings, CSV or Parquet: one row a clip."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from auricle.datasets.clips import Clip, check_ids
from auricle.formats.matching import find_named
from auricle.remote import address_of, join, sizes_of
from auricle.tables import read_text_table

NEEDED = ("path", "labels")
OPTIONAL = ("id", "start", "end", "split", "group", "scores")
NUMBERS = ("start", "end", "scores")
LOOK_AT = 20  # paths that are looked up before a long run starts


def manifest(path: str | Path, root: str | Path | None = None) -> list[Clip]:
    """Clips of a CSV, TSV or Parquet table, in the order of its rows.

    Columns: `path` (relative to the table's folder, or an address such as s3://bucket/a.wav) and `labels`
    (separated by `;`; may be empty) are needed; `id`, `start` and `end` (seconds), `split`, `group` and
    `scores` (separated by `;`, parallel to the labels, 0 to 1) are optional; all others become attributes.
    Without `group`, all clips of one file are a group. Without `id`, the id is the path, with the range where
    there is one. In Parquet, labels and scores may be lists.

    Args:
        path: the table.
        root: the folder, or an address, that paths are relative to; None is the table's folder.

    Raises:
        ValueError: a column or a field is missing, a row does not make sense (its line is named), two rows
            are the same clip, or none of the first files exists.

    >>> manifest("no-such.csv")
    Traceback (most recent call last):
    ValueError: no-such.csv: no such file
    """
    table = Path(path)
    if not table.is_file():
        raise ValueError(f"{table}: no such file")
    columns, rows = _read_table(table)
    missing = [name for name in NEEDED if name not in columns]
    if missing == ["labels"] and {"start", "end", "label"} <= set(columns):
        raise ValueError(
            f"{table}: a table of events; auricle convert {table} --format manifest --out manifest.csv makes "
            "one of labelled clips"
        )
    if missing:
        raise ValueError(
            f"{table}: column {' and '.join(missing)} missing: it has {', '.join(columns) or 'none'}; "
            f"needed are {', '.join(NEEDED)}, optional {', '.join(OPTIONAL)}"
        )
    if len(set(columns)) != len(columns):
        raise ValueError(f"{table}: a column is there twice: {', '.join(columns)}")
    folder, clips = table.parent if root is None else root, []
    for line, row in rows:
        try:
            clips.append(_clip(row, folder))
        except ValueError as error:
            raise ValueError(f"{table}, row {line}: {error}") from None
    if not clips:
        raise ValueError(f"{table}: no rows")
    try:
        check_ids(clips)
    except ValueError as error:
        raise ValueError(f"{table}: {error}") from None
    _check_some_exist(clips, table, folder)
    return clips


Rows = Iterable[tuple[int, dict[str, Any]]]  # line of the table, column -> value


def _read_table(table: Path) -> tuple[list[str], Rows]:
    return _read_parquet(table) if table.suffix.lower() == ".parquet" else read_text_table(table, NUMBERS)


def _read_parquet(table: Path) -> tuple[list[str], Rows]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(table)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{table}: not a Parquet file ({error})") from None

    def rows() -> Iterator[tuple[int, dict[str, Any]]]:
        line = 0
        for batch in file.iter_batches():
            for row in batch.to_pylist():
                line += 1
                yield line, row

    return list(file.schema_arrow.names), rows()


def _clip(row: dict[str, Any], folder: str | Path) -> Clip:
    name = _text(row["path"])
    if not name:
        raise ValueError("path is empty")
    start, end = _seconds(row.get("start"), "start"), _seconds(row.get("end"), "end")
    scores = _parts(row.get("scores"))
    labels = _parts(row["labels"])
    if len(set(labels)) != len(labels):
        raise ValueError(f"a label is given twice: {';'.join(labels)}")
    known = set(NEEDED) | set(OPTIONAL)
    return Clip(
        id=_text(row.get("id")) or name + _range(start, end),
        path=_placed(folder, name),
        start=start,
        end=end,
        labels=labels,
        split=_text(row.get("split")),
        group=_text(row.get("group")) or name,
        scores=tuple(_number(score, "scores") for score in scores) if scores else None,
        attributes={key: _text(value) for key, value in row.items() if key and key not in known},
    )


def _placed(folder: str | Path, name: str) -> str:
    address = address_of(name)
    if address is None and (base := address_of(folder)) is not None:
        return join(base, name)
    if address is None and os.sep == "/" and "\\" in name:  # a name that is spelled out, perhaps
        return str(find_named(name, Path(folder)) or Path(folder) / name)
    return address or str(Path(folder) / name)


def _range(start: float | None, end: float | None) -> str:
    if start is None and end is None:
        return ""
    return f"[{start or 0.0!r}-{'' if end is None else repr(end)}]"


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _parts(value: Any) -> tuple[str, ...]:
    parts = [str(part) for part in value] if isinstance(value, list | tuple) else _text(value).split(";")
    return tuple(part.strip() for part in parts if part.strip())


def _number(value: Any, name: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} is not a number: {value!r}") from None
    if number != number or number in (float("inf"), float("-inf")):
        raise ValueError(f"{name} is not a finite number: {value!r}")
    return number


def _seconds(value: Any, name: str) -> float | None:
    return None if _text(value) in ("", "nan") else _number(value, name)


def _check_some_exist(clips: list[Clip], table: Path, folder: str | Path) -> None:
    looked_at = list(dict.fromkeys(clip.path for clip in clips))[:LOOK_AT]
    if not any(_is_there(path) for path in looked_at):
        raise ValueError(
            f"{table}: none of its first {len(looked_at)} files exists, e.g. {looked_at[0]}; "
            f"paths are relative to the table's folder, {folder}"
        )


def _is_there(path: str) -> bool:
    return sizes_of([path])[0] >= 0 if address_of(path) is not None else Path(path).is_file()
