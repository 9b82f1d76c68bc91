"""docs/published.md runs as it stands, on stand-ins of the released files' names, keys and shapes."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("h5py", reason="h5py is not installed")
pytest.importorskip("ai_edge_litert", reason="ai-edge-litert is not installed")
import efficientat_release
import panns_release
import published_tflite
import soundfile
import tiny_onnx
import torch
import yamnet_release

from auricle.artifact import load_artifact

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "published.md").read_text()
BIRDNET = [("model/GLOBAL_AVG_POOL/Mean", 1024), ("Identity", 6522)]
PERCH = [("StatefulPartitionedCall:0", 1536), ("StatefulPartitionedCall:1", 14795)]
YAMNET = [("layer28/reduce_mean", 1024), ("Identity", 521)]


def blocks(kind: str) -> list[str]:
    """Blocks of the page, without what installs."""
    found = re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)
    return [re.sub(r"^pip install .*\n", "", block, flags=re.M) for block in found]


def write_released(folder: Path) -> None:
    """The files that the page's commands name, each in its own layout; Cnn14 an eighth as wide."""
    arrays = panns_release.frozen_arrays(panns_release.released_shapes("cnn14", width=0.125, classes=527))
    panns_release.write_checkpoint(folder / "Cnn14_mAP=0.431.pth", arrays | panns_release.front_end(32000))
    for name in ("mn10_as_mAP_471.pt", "mn10_as_hop_15_mAP_463.pt"):
        torch.save(efficientat_release.arrays_of(1.0), folder / name)
    yamnet_release.write_hdf5(folder / "yamnet.h5", yamnet_release.released_arrays())

    def tflite(name: str, window: int, tensors: list[tuple[str, int]], outputs: list[int], rate: int) -> None:
        labels = [f"sound {number}" for number in range(tensors[-1][1])] if rate else []
        (folder / name).write_bytes(
            published_tflite.content(
                window, tensors, outputs=outputs, rate=rate, labels=labels, scores=bool(rate)
            )
        )

    tflite("tagger.tflite", 16000, [("scores", 3)], [0], 16000)
    tflite("lite-model_yamnet_classification_tflite_1.tflite", 15600, YAMNET, [1], 16000)
    tflite("BirdNET_GLOBAL_6K_V2.4_Model_FP32.tflite", 144000, BIRDNET, [1], 0)
    tflite("perch_v2.tflite", 160000, PERCH, [0, 1], 0)
    (folder / "tagger.onnx").write_bytes(tiny_onnx.content((1, 16000), window=16000, scores="Sigmoid"))
    (folder / "perch_v2.onnx").write_bytes(
        tiny_onnx.content(
            ("batch", 160000), window=160000, size=16, classes=14795, embedding_out=True,
            names=("inputs", "label", "embedding"),
        )
    )  # fmt: skip


def write_labels(folder: Path, block: str) -> None:
    """The lists that a block names: each network's own."""
    count = next((number for word, number in (("perch", 14795), ("tagger.", 3)) if word in block), 6522)
    names = [f"Genus species{number}_Common name {number}" for number in range(count)]
    (folder / "labels.csv").write_text("\n".join(["display_name" if count == 3 else "inat2024", *names]))
    (folder / "BirdNET_GLOBAL_6K_V2.4_Labels.txt").write_text("\n".join(names))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("published")
    write_released(path)
    sound, rate = soundfile.read(ROOT / "examples" / "scene.ogg", dtype="float32", frames=160000)
    soundfile.write(path / "recording.wav", sound, rate)
    return path


def run_block(folder: Path, block: str) -> subprocess.CompletedProcess[str]:
    path = folder / "bin"
    path.mkdir(exist_ok=True)
    (path / "auricle").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m auricle "$@"\n')
    (path / "auricle").chmod(0o755)
    environment = os.environ | {
        "PATH": f"{path}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "AURICLE_OFFLINE": "1",
        "AURICLE_CACHE": str(folder / "cache"),
    }
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block], cwd=folder, env=environment, capture_output=True, text=True
    )


MODELS = {  # folder that a block makes -> labels, window in seconds, licence: none of a stand-in's checksum
    "cnn14": (527, 10.0, ""), "mn10": (527, 10.0, ""),
    "yamnet-float": (521, 0.975, ""), "yamnet": (521, 0.975, ""),
    "tagger": (3, 1.0, ""), "birdnet": (6522, 3.0, "CC BY-NC-SA 4.0"), "perch": (14795, 5.0, "Apache-2.0"),
}  # fmt: skip


@pytest.mark.parametrize("number", range(len(blocks("sh"))))
def test_every_command_of_the_page_runs(folder: Path, number: int) -> None:
    block = blocks("sh")[number]
    write_labels(folder, block)
    for name in MODELS:  # two commands of a block make the same folder, one of each kind of file
        block = re.sub(rf"(--out {name}\n.*?--out {name})\n", r"\1 --replace\n", block, flags=re.DOTALL)
    done = run_block(folder, block)
    assert done.returncode == 0, done.stderr
    made = re.findall(r"--out (\S+)", block)
    said = [line for line in done.stderr.splitlines() if "has the name of the released file" not in line]
    assert made and not [line for line in said if "Traceback" in line or "warning" in line]
    for name in made:
        model = load_artifact(folder / name)
        assert (model.num_classes, model.window / model.rate, model.licence) == MODELS[name]
    if "auricle tag" in block:
        assert "recording.wav" in done.stdout


def test_the_pages_commands_make_every_model_that_it_names() -> None:
    assert {name for block in blocks("sh") for name in re.findall(r"--out (\S+)", block)} == set(MODELS)


def test_what_the_page_shows_of_an_import_is_what_is_said(folder: Path) -> None:
    (shown,) = [block for block in blocks("console") if "import efficientat" in block]
    command, told, printed = shown.strip().split("\n")
    done = run_block(folder, command.removeprefix("$ "))
    assert (done.returncode, done.stderr, done.stdout) == (0, f"{told}\n", f"{printed}\n")
