"""`auricle tag --live`: what sounds now, from a pipe or a microphone, until it ends or is asked to."""

import contextlib
import dataclasses
import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TextIO

import typer

from auricle.cli.output import opened, print_warning
from auricle.cli.results import TagFormat, naming, write_results
from auricle.formats import About
from auricle.formats.results import noticing
from auricle.text import for_terminal

if TYPE_CHECKING:
    from auricle.artifact import Artifact
    from auricle.tagging import TagOptions


def listen(
    paths: list[str],
    options: "TagOptions",
    artifact: "Artifact",
    format: TagFormat,
    out: str,
    quiet: bool = False,
) -> None:
    """Tag what is heard while it is heard; Ctrl-C (or SIGTERM) ends it, and what was heard is written.

    Args:
        paths: one: "-", "microphone", KIND:NAME, or a path.
        options: with `windows`; without a hop it is a second, or the model's where that is shorter (its share
            of a window, where the options have one).
        artifact: the model.
        format: table, csv and jsonl write each window at once; so do audacity, raven and webvtt.
        out: a file, or "-".
        quiet: do not say at the end how much was heard.

    Raises:
        AudioError, ValueError: as `Tagger.follow`, after what was heard until then.

    >>> listen(["microphone"], TagOptions(windows=True), artifact, TagFormat.csv, "-")  # doctest: +SKIP
    """
    if len(paths) != 1:
        raise typer.BadParameter(f"hears one source, and these are {len(paths)}", param_hint="--live")
    from auricle.audio import find_device
    from auricle.listening import DECODER, LIVE_HOP_SECONDS
    from auricle.probabilities import of_events, of_window, of_windows, unnamed
    from auricle.progress import format_seconds, say
    from auricle.tagging import follow_file, load_tagger

    heard = load_tagger(options).artifact  # before Ctrl-C has another meaning
    if options.hop is None:
        options = dataclasses.replace(options, hop=min(heard.hop / heard.rate, LIVE_HOP_SECONDS))
    if (config := options.events) is None:
        said = of_windows(artifact, options.hop)
    else:
        said = of_events(artifact, config, options.hop)
    foreign = of_window(artifact, options.window, threshold=options.threshold, config=config)
    if said := foreign or (said if options.threshold is None else ""):
        print_warning(said)
    source = find_device(paths[0]) or paths[0]
    name = str(source)
    named: list[bool] = []
    with stopping() as stop, opened(out) as stream:
        pieces = follow_file(
            source, options, lambda text: print_warning(naming(name, text)), live=True, stop=stop
        )
        pieces = noticing(pieces, named)
        result: dict[str, Any] = {"path": name}
        if format is TagFormat.table:
            _write_lines(_until_the_end(pieces, result), stream)
        elif format is TagFormat.jsonl:
            _write_objects(result, pieces, stream)
        else:
            result["windows"] = _until_the_end(pieces, result)
            write_results([result], stream, format, About.of(artifact, options.start))
    if not quiet and "duration" in result:
        silent = not named and format is not TagFormat.parquet
        nothing = unnamed(artifact, config, options.threshold) if silent else ""
        say(
            f"{for_terminal(name)}: {format_seconds(result['duration'])} heard" + (nothing and f"; {nothing}")
        )
    if any(thread.name == DECODER for thread in threading.enumerate()):
        # It waits for a silent source, cannot be ended, and holds what Python would complain of as it ends.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


@contextlib.contextmanager
def stopping() -> Iterator[threading.Event]:
    """An event that Ctrl-C or SIGTERM sets; asked a second time, Ctrl-C interrupts as ever.

    >>> with stopping() as stop:
    ...     stop.is_set()
    False
    """
    stop = threading.Event()

    def ask(number: int, frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    names = ("SIGINT", "SIGTERM", "SIGBREAK")  # the last is Windows' Ctrl-Break
    before = {number: signal.signal(number, ask) for name in names if (number := getattr(signal, name, None))}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def clock(seconds: float) -> str:
    """Time since listening began.

    >>> clock(3.25), clock(7384)
    ('0:00:03.2', '2:03:04.0')
    """
    tenths = int(seconds * 10)
    return f"{tenths // 36000}:{tenths // 600 % 60:02d}:{tenths // 10 % 60:02d}.{tenths % 10}"


def _until_the_end(pieces: Iterable[dict[str, Any]], result: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for piece in pieces:
        if "path" in piece:  # the last, of the whole
            result.update(piece)
        else:
            yield piece


def _write_lines(windows: Iterable[dict[str, Any]], stream: TextIO) -> None:
    for window in windows:
        if window["tags"]:
            sounds = ", ".join(f"{for_terminal(tag['label'])} {tag['score']:.2f}" for tag in window["tags"])
            print(f"{clock(window['start'])} - {clock(window['end'])}  {sounds}", file=stream, flush=True)


def _write_objects(result: dict[str, Any], pieces: Iterable[dict[str, Any]], stream: TextIO) -> None:
    """One object a window; the last is of the whole, as without --live."""
    from auricle.formats import write_jsonl

    name = result["path"]
    write_jsonl(({"path": name} | window for window in _until_the_end(pieces, result)), stream)
    write_jsonl([result], stream)
