"""Progress inside a recording: noted by whoever listens to it, in any process, and counted once."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from auricle import progress as progress_module
from auricle.cli import main
from auricle.engine import tagging, underway
from auricle.engine.embedding import EmbedOptions, embed_many
from auricle.engine.jobs import Engine
from auricle.engine.underway import listening, note_of, noting, watched
from auricle.listening import part_heard
from auricle.progress import Progress
from auricle.tagging import Tagger


@pytest.fixture
def long(tmp_path: Path) -> Path:
    """Ten seconds, told as often as they are heard."""
    soundfile.write(tmp_path / "long.wav", np.zeros(8000 * 10), 8000)
    return tmp_path / "long.wav"


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_module, "LINE_EVERY_SECONDS", -1.0)
    monkeypatch.setattr(underway, "EVERY_SECONDS", 0.0)


def test_what_is_under_way_is_shown_and_then_counted_once(
    long: Path, at_once: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(underway.threading.Thread, "start", lambda thread: None)  # looked at by hand
    monkeypatch.setattr(underway.threading.Thread, "join", lambda thread: None)
    size = long.stat().st_size
    with Progress(4, "tagging", size=4 * size) as progress, watched(progress) as watch:
        for task in ("one", "two"):  # of two workers
            with noting(watch.folder, note_of(task)):
                listening(str(long))["heard"](10.0)
                listening(str(long))["heard"](5.0)  # the task's second recording
        watch.look()
        assert progress.under_way == (3 * size, 30.0)
        assert "0/4 files" in (err := capsys.readouterr().err) and "30.0 s of sound" in err and "left" in err
        with watch.finished(note_of("one")):
            progress.advance(2, size=2 * size, seconds=20.0)
        assert progress.under_way == (1.5 * size, 15.0) and progress.heard == 20.0
        with watch.finished(note_of("two")):
            progress.advance(2, size=2 * size, seconds=20.0)
        assert progress.under_way == (0.0, 0.0)
    assert "4/4 files" in capsys.readouterr().err.splitlines()[-1]
    assert not Path(watch.folder).exists()


def test_the_part_of_an_excerpt_is_of_what_is_heard(long: Path) -> None:
    assert part_heard(str(long))(2.5) == 0.25
    assert part_heard(str(long), start=2.0, end=6.0)(2.0) == 0.5
    assert part_heard(str(long), start=2.0, end=60.0)(2.0) == 0.25
    assert part_heard(str(long), start=60.0)(2.0) == part_heard("-")(2.0) == 0.0


@pytest.mark.parametrize("out", ["x.csv", "tags/"])
def test_a_long_recording_moves_its_progress_wherever_results_go(
    out: str,
    long: Path,
    at_once: None,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(underway, "EVERY_SECONDS", 0.01)
    monkeypatch.setattr("auricle.cli.recordings.LONG_SECONDS", 1.0)
    real = tagging.follow_file

    def slow(path: str, options: Any, warn: Any, *, heard: Any = None) -> Iterator[dict[str, Any]]:
        def wait(seconds: float) -> None:
            time.sleep(0.03)
            if heard is not None:
                heard(seconds)

        yield from real(path, options, warn, heard=wait)

    monkeypatch.setattr(tagging, "follow_file", slow)
    with pytest.raises(SystemExit) as ended:
        main(["tag", str(long), "--model", str(model), "--out", f"{tmp_path}/{out}"])
    lines = capsys.readouterr().err.splitlines()
    assert not ended.value.code and any("0/1 files" in line and " left; " in line for line in lines), lines
    assert "1/1 files" in lines[-1] and "10.0 s of sound" in lines[-1]


@pytest.mark.parametrize("verb", ["embed", "index", "embed_many"])
def test_a_long_recording_moves_the_progress_of_a_job_of_embeddings(
    verb: str,
    long: Path,
    at_once: None,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(underway, "EVERY_SECONDS", 0.01)
    real = Tagger.windows

    def slow(*given: Any, **options: Any) -> Iterator[Any]:
        for part in real(*given, **options):
            time.sleep(0.03)
            yield part

    monkeypatch.setattr(Tagger, "windows", slow)
    out = f"{tmp_path}/x.parquet"
    if verb == "embed_many":
        embed_many([str(long)], out, EmbedOptions(model=str(model)), engine=Engine(kind="here"))
    else:
        with pytest.raises(SystemExit) as ended:
            main([verb, str(long), "--model", str(model), "--out", out])
        assert not ended.value.code
    lines = capsys.readouterr().err.splitlines()
    assert any("0/1 files" in line and " left; " in line for line in lines), lines
    assert any("1/1 files" in line and "10.0 s of sound" in line for line in lines), lines


def test_the_last_line_counts_the_last_recording_of_those_whose_windows_are_shown(
    long: Path, at_once: None, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    second = tmp_path / "second.wav"
    second.write_bytes(long.read_bytes())
    options = ["--windows", "--format", "csv", "--jobs", "1", "--model", str(model)]
    with pytest.raises(SystemExit):
        main(["tag", str(long), str(second), *options])
    last = capsys.readouterr().err.splitlines()[-1]
    assert "2/2 files" in last and " left" not in last and "20.0 s of sound" in last


def test_of_nothing_to_do_there_is_a_word_and_no_progress(
    long: Path, at_once: None, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "second.wav").write_bytes(long.read_bytes())
    for _ in range(2):
        with pytest.raises(SystemExit):
            main(
                [
                    "tag",
                    str(tmp_path),
                    "--jobs",
                    "1",
                    "--model",
                    str(model),
                    "--format",
                    "csv",
                    "--out",
                    f"{tmp_path}/tags/",
                ]
            )
        said = capsys.readouterr().err.splitlines()
    assert said == ["auricle: 2 recordings unchanged since an earlier run: nothing to do"]


def test_a_terminal_sees_how_far_a_long_recording_is_and_its_tags_alone(
    long: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal, the bar has ended before what is said of the recording is printed."""
    from auricle.cli import recordings
    from auricle.tagging import TagOptions

    monkeypatch.setattr(recordings, "LONG_SECONDS", 1.0)
    monkeypatch.setattr(recordings.sys.stdout, "isatty", lambda: True, raising=False)
    shown = recordings._shown([str(long)], TagOptions(model=str(model)), {str(long): 1})
    assert not shown.quiet
    assert recordings._shown([str(long)], TagOptions(model=str(model), windows=True), {}).quiet
    with shown:
        shown.end()
        assert shown.quiet
