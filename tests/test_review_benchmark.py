"""The benchmark of the review loop: what an oracle answers, what is compared, and that it runs."""

import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile
from running import load_script

from auricle.engine import pack
from auricle.shards import Pack
from auricle.shards.embeddings import add_embeddings

ROOT = Path(__file__).parents[1]
RATE = 8000
ABOUT = {
    "model": "m",
    "fingerprint": "f",
    "rate": RATE,
    "window": RATE // 4,
    "hop": RATE // 4,
    "tail": "drop",
}


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    return load_script("benchmarks/review.py")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten classes of twelve clips in two folds, each of three windows, of which the last is silence."""
    folder, rng = tmp_path_factory.mktemp("review"), np.random.default_rng(2)
    rows, values = ["path,labels,split,group"], []
    for number in range(120):
        samples = rng.normal(0, 0.1, 3 * RATE // 4)
        samples[-RATE // 4 :] = 0
        soundfile.write(folder / f"{number:03d}.wav", samples, RATE)
        rows.append(f"{number:03d}.wav,c{number % 10},fold{number // 60 + 1},g{number}")
        clip = rng.normal(0, 0.4, (3, 16))
        clip[:2, number % 10] += 1.5
        clip[2] = 0.01
        values.append(clip.astype(np.float32))
    (folder / "manifest.csv").write_text("\n".join(rows))
    pack(folder / "manifest.csv", folder / "pack", rate=RATE, jobs=1, quiet=True)
    add_embeddings(folder / "pack", "made", values, ABOUT | {"size": 16, "pooling": "none"})
    return folder / "pack"


def test_silence_is_no_class_and_intervals_draw_classes(benchmark: ModuleType, data: Path) -> None:
    corpus = benchmark.read_corpus(Pack(data), "made")
    assert corpus.silent.reshape(-1, 3).tolist() == [[False, False, True]] * 120
    assert corpus.spans[:3].tolist() == [[0.0, 0.25], [0.25, 0.5], [0.5, 0.75]]
    values = np.array([[0.0, 2.0], [4.0, 4.0]])  # classes of means 1 and 4
    mean, low, high = benchmark.interval(values)
    assert (mean, low, high) == (2.5, 1.0, 4.0)


def test_it_runs_goes_on_and_the_loop_gains(
    benchmark: ModuleType,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    base = ["review.py", "--data", str(data), "--embeddings", "made", "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", [*base, "--quick"])
    benchmark.main()
    printed = capsys.readouterr().out
    assert "2 runs, m;" in printed and "| 20 | " in printed
    kept = json.loads((tmp_path / "out" / "courses.json").read_text())
    assert len(kept["courses"]) == 2
    for runs in kept["courses"].values():
        first = [course[0][0] for course in runs.values()]
        assert first[0] == first[1] == first[2]  # the same example, before any answer
        assert runs["uncertain"][1][-1] > runs["random"][1][-1]  # a yes is found sooner
    benchmark.main()
    assert json.loads((tmp_path / "out" / "courses.json").read_text()) == kept
    monkeypatch.setattr(sys, "argv", [*base, "--rounds", "1"])
    with pytest.raises(SystemExit, match="other settings"):
        benchmark.main()
