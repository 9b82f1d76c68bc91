"""The benchmarks of the service, many clients and hostile ones, in small; and what they are made of."""

import importlib
import io
import random
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from auricle.audio import blocks

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def media() -> ModuleType:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        return importlib.import_module("hostile_media")
    finally:
        sys.path.remove(str(BENCHMARKS))


def seconds(content: bytes) -> float:
    file = io.BytesIO(content)
    file.name = "bomb"
    return sum(len(block.samples) for block in blocks(file, 8_000)) / 8_000


def test_a_bomb_is_small_and_long(media: ModuleType) -> None:
    content = media.flac(3600, 8_000, 1)
    assert len(content) < 10_000 and seconds(content) == pytest.approx(3600, rel=0.01)
    assert seconds(media.flac(60, 8_000, 1, told=False)) == pytest.approx(60, rel=0.15)
    content = media.matroska(2)
    assert len(content) < 20_000 and seconds(content) == pytest.approx(2 * 9_000_000 / 16 / 48_000, rel=0.01)


def test_mutations_are_the_same_again_and_each_container_gets_every_damage(media: ModuleType) -> None:
    files = {"a": random.Random(1).randbytes(10_000), "b": b"RIFF" + random.Random(2).randbytes(9_000)}
    made = list(media.mutated(files, 64, seed=3))
    assert made == list(media.mutated(files, 64, seed=3)) != list(media.mutated(files, 64, seed=4))
    kinds = Counter(what for what, _ in made)
    assert len(kinds) == len(media.DAMAGES) * 2 and set(kinds.values()) == {4}
    same = [what for what, content in made if content in files.values()]
    assert len(same) < 4


@pytest.mark.slow
def test_a_few_seconds_of_many_clients_give_nothing_but_right_answers() -> None:
    command = [sys.executable, str(BENCHMARKS / "serve_load.py"), "--seconds", "5", "--clients", "8"]
    done = subprocess.run([*command, "--overload", "5", "--queue", "1"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    many, few = done.stdout.split("8 clients for 5 s, of whom 1 may wait")
    assert re.search(r"statuses +\d+ of 200$", many, re.MULTILINE), done.stdout
    assert "wrong numbers   0; broken connections 0" in many
    assert re.search(r"service : tag +\d", many)
    assert re.search(r"statuses +\d+ of 200, \d+ of 429$", few, re.MULTILINE), done.stdout
    assert "wrong numbers   0; broken connections 0" in few
    assert "0 without Retry-After" in few and "given up 0" in few


@pytest.mark.slow
def test_the_service_outlives_some_of_every_harm() -> None:
    command = [sys.executable, str(BENCHMARKS / "serve_hostile.py"), "--quick"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("after   healthy, the right numbers") == 8
    rows = done.stdout.partition("\ngroup ")[2].splitlines()
    assert len(rows) == 9


@pytest.mark.slow
def test_the_page_is_used_and_what_it_cost_is_told() -> None:
    pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    if not any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))):
        pytest.skip("needs Chromium")
    command = [sys.executable, str(BENCHMARKS / "serve_page.py"), "--hours", "0.01", "--minutes", "0.5"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert "WRONG" not in done.stdout and "long : short" in done.stdout, done.stdout + done.stderr
    assert len(re.findall(r"^move window ", done.stdout, re.MULTILINE)) == 3
