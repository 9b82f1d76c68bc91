"""Fixtures that several test files share."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# Processes of `pytest -n` share the cores: one thread each. NumPy and torch ask when they are imported, here
# and in what tests start.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import soundfile

# A shell lets what it runs in the background ignore interrupts, and processes started here would inherit
# that: the tests that interrupt them would wait for nothing.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def _loud(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command of an earlier test that was asked to be quiet does not make this one so."""
    monkeypatch.setattr("auricle.progress._silent", False)


@pytest.fixture
def shared_data() -> Path:
    """The folder of real recordings and annotations that is not part of the project."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"real recordings are not here: {SHARED_DATA} does not exist")
    return SHARED_DATA


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A very small model that nobody trained, as an ONNX file."""
    from tiny_model import save_file

    return save_file(tmp_path_factory.mktemp("model") / "tiny.onnx")


@pytest.fixture(scope="session")
def long_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Six seconds of stereo in every container and codec, written once for all test files."""
    from media import long_media

    return long_media(tmp_path_factory.getbasetemp() / "long_media")


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """A folder of two recordings, one with a comma in its name, and a file that is none."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, 2 * 22050)
    soundfile.write(folder / "a.wav", noise, 22050)
    soundfile.write(folder / "b, c.flac", noise[:11025], 22050)
    (folder / "notes.txt").write_text("not a recording")
    return folder


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 128 kB, in memory."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(disk)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("cannot mount a small disk here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Downloads as on a fresh machine: a cache of the test's own, no proxy, no pause between trials."""
    for name in ("AURICLE_OFFLINE", "http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AURICLE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("auricle.interop.download.PAUSE_SECONDS", 0.0)
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def keen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled model with thresholds that several sounds of the example reach, whatever its own are."""
    from auricle.artifact import load_artifact, save_changed

    loaded, path = load_artifact("default"), tmp_path_factory.mktemp("keen") / "model"
    save_changed(loaded, path, thresholds=[0.3] * loaded.num_classes, metrics={})
    return path


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory, keen: Path) -> Iterator[str]:
    """Of a service in a process of its own, for all who look at its page in a browser."""
    from serving import served

    given = ("--model", str(keen), "--data", str(tmp_path_factory.mktemp("data")), "--threads", "1")
    with served(*given) as (address, _):
        yield address + "/"


@pytest.fixture(scope="module")  # no longer: while it is open, asyncio takes its loop for a running one
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium, for a file of tests."""
    from browsing import chromium

    with chromium(tmp_path_factory.mktemp("microphone") / "heard.wav") as browser:
        yield browser


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """The service's page as a visitor nobody knows has it."""
    from browsing import visiting

    with visiting(browser, address, viewport={"width": 1280, "height": 800}) as page:
        yield page


@pytest.fixture(scope="session")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six seconds, of rain and what comes before it: tagging them takes no time."""
    from browsing import SCENE

    path = tmp_path_factory.mktemp("short") / "short.wav"
    scene, rate = soundfile.read(SCENE)
    soundfile.write(path, scene[13 * rate : 19 * rate], rate, subtype="PCM_16")
    return path
