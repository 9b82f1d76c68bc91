"""Names that a table or an editor's file cannot hold as they are are read back all the same."""

import csv
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from auricle import formats
from auricle.cli import main
from auricle.datasets.manifest import manifest
from auricle.formats.matching import find_named, match_recordings
from auricle.formats.reading import read_events

RATE = 8000
NAMES = [
    os.fsdecode(b"caf\xe9.wav"),
    os.fsdecode(b"caf\xe9/two \xff\x85.wav"),  # 0x85 also has the look of a control character
    "new\nline.wav",
    "carriage\rreturn.wav",
    "tab\tq'\".wav",
    '"quoted".wav',
    "name;\x1b[31m.wav",
    "back\\slash.wav",
    "a;b,c.wav",
    " space .wav",
    "\u202edirection.wav",
    "=cmd.wav",
    "22:00:00.wav",
    "100%41.wav",
    "-dash.wav",
    "emoji\U0001f436 \xfc.wav",
]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes are Linux's")


@pytest.fixture
def recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in NAMES:
        (tmp_path / "rec" / name).parent.mkdir(parents=True, exist_ok=True)
        with (tmp_path / "rec" / name).open("wb") as file:
            soundfile.write(file, np.zeros(2 * RATE), RATE, format="WAV")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def convert(*arguments: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["convert", *arguments])
    assert not ended.value.code


def found_in(file: Path) -> dict[str, tuple[float, float]]:
    """Recording -> when something is heard in it, each matched with the files that are there."""
    read = read_events([file])
    paths = [os.path.join("rec", name) for name in NAMES]  # noqa: PTH118
    matched = match_recordings(read.recordings, paths, ["rec"])
    return {matched[event.recording]: (event.start, event.end) for event in read.events}


TRUTH = {"rec/" + name: (0.25, 0.5 + number / 16) for number, name in enumerate(NAMES)}


@pytest.mark.parametrize("format", ["csv", "jsonl", "audacity", "raven", "jams"])
def test_odd_names_come_back_in_every_format(
    format: str, recordings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = [
        {"path": path, "duration": 2.0, "tags": [], "events": [_event(*span)]} for path, span in TRUTH.items()
    ]
    with Path("first.jsonl").open("w", newline="") as stream:
        formats.write("jsonl", results, stream)
    one_file = format in ("csv", "jsonl")
    out = f"out{formats.SUFFIXES[format]}" if one_file else "out/"
    convert("first.jsonl", "--format", format, "--out", out)
    assert found_in(Path(out)) == TRUTH
    convert(out, "--recordings", "rec", "--format", "jsonl", "--out", "with.jsonl")
    convert(out, "--format", "jsonl", "--out", "without.jsonl")  # the files are where the names say
    assert found_in(Path("with.jsonl")) == found_in(Path("without.jsonl")) == TRUTH
    capsys.readouterr()


def _event(start: float, end: float) -> dict[str, object]:
    return {"start": start, "end": end, "label": "dog", "score": 0.75}


def test_a_manifest_of_odd_names_finds_its_recordings(recordings: Path) -> None:
    results = [
        {"path": path, "duration": 2.0, "tags": [], "events": [_event(*TRUTH[path])]} for path in TRUTH
    ]
    with Path("first.jsonl").open("w", newline="") as stream:
        formats.write("jsonl", results, stream)
    convert("first.jsonl", "--format", "manifest", "--out", "more.csv")
    assert sorted(str(Path(clip.path)) for clip in manifest(Path("more.csv"))) == sorted(TRUTH)


def test_names_that_could_be_two_are_told(tmp_path: Path) -> None:
    odd, plain = os.fsdecode(b"caf\xe9.wav"), "caf\\xe9.wav"
    assert match_recordings({plain: "t"}, [odd]) == {plain: odd}
    assert match_recordings({plain: "t"}, [odd, plain]) == {plain: plain}  # the very name comes first
    with pytest.raises(ValueError, match="may be"):
        match_recordings({"x/" + plain: "t"}, ["x/y/" + odd, "x/z/" + odd, "y/x/" + odd, "z/x/" + odd])
    assert find_named("no\\nne.wav", tmp_path) is None and find_named("not/there.wav", tmp_path) is None
    with (tmp_path / "t.csv").open("w") as file:
        csv.writer(file).writerows([["path", "start", "end", "label"], ["caf\\xe9.wav", 0, 1, "dog"]])
    assert list(read_events([tmp_path / "t.csv"]).recordings) == [plain]
