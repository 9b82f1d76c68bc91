"""The example scene is what its script makes, and its sheet says what is in it."""

import csv
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import av
import numpy as np
import pytest
import soundfile
from running import load_script

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script("examples/make_scene.py")


@pytest.fixture(scope="module")
def scene(script: ModuleType) -> np.ndarray:
    return script.make_scene()


def test_the_sheet_is_the_scripts(script: ModuleType, tmp_path: Path) -> None:
    script.write_sheet(tmp_path / "scene.csv")
    assert (tmp_path / "scene.csv").read_bytes() == (EXAMPLES / "scene.csv").read_bytes()


def test_the_sound_is_the_scripts(scene: np.ndarray) -> None:
    kept, rate = soundfile.read(EXAMPLES / "scene.ogg", dtype="float32")
    assert rate == 44100 and kept.shape == scene.shape
    # Ogg Vorbis keeps what ears hear, not the samples: most of the power has to agree all the same.
    assert np.corrcoef(kept, scene)[0, 1] > 0.95
    assert (EXAMPLES / "scene.ogg").stat().st_size < 1_000_000


def test_every_sound_of_the_sheet_is_heard(scene: np.ndarray) -> None:
    with (EXAMPLES / "scene.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) >= 5
    for row in rows:
        part = scene[round(float(row["start"]) * 44100) : round(float(row["end"]) * 44100)]
        assert np.max(np.abs(part)) > 0.1, row["label"]
    assert np.max(np.abs(scene)) < 1.0


def test_the_corpus_has_four_classes_in_four_formats_and_a_film(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / "make_corpus.py"), str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    with (tmp_path / "meta.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 48 and {row["labels"] for row in rows} == {"clock_tick", "siren", "rain", "engine"}
    assert {Path(row["path"]).suffix for row in rows} == {".wav", ".flac", ".m4a", ".mp3"}
    for label in ("siren", "rain"):  # no format gives a class or a split away
        mine = [row for row in rows if row["labels"] == label]
        assert len({Path(row["path"]).suffix for row in mine}) == 4
        assert sum(row["split"] == "test" for row in mine) == 3
    with av.open(str(tmp_path / "new.mp4")) as film:
        assert {stream.type for stream in film.streams} == {"audio", "video"}
