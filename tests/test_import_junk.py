"""What is no file of weights is refused in one line, and does not become the file that counts."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_onnx
from running import run

from auricle.interop.given import text_in

TEXTS = {
    b"<html>\n": "a web page; it begins with '<html>'",
    b"\xef\xbb\xbf\n <!DOCTYPE html><p>\x00": "a web page; it begins with '<!DOCTYPE html>",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n": "a text; it begins with 'version",
    b"": "an empty one",
}
VERBS = (
    ("panns", "x.pth"),
    ("efficientat", "x.pt"),
    ("yamnet", "x.h5"),
    ("yamnet", "x.npz"),
    ("onnx", "x.onnx"),
    ("tflite", "x.tflite"),
)


@pytest.mark.parametrize(("verb", "name"), VERBS)
def test_a_page_or_a_text_is_called_one(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, verb: str, name: str
) -> None:
    pytest.importorskip({"onnx": "onnx", "tflite": "ai_edge_litert"}.get(verb, "torch"))
    for content, message in TEXTS.items():
        (tmp_path / name).write_bytes(content)
        status, _, said = run(capsys, "import", verb, tmp_path / name, "--out", tmp_path / "out")
        assert (
            status == 1
            and said.count("\n") == 1
            and f"{name}: not a file of weights that can be read, but {message}" in said
        )
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "content", [bytes(range(256)), b"\x80\x02}q\x00(X\x01\x00", pickle.dumps({"a": run})]
)
def test_nobody_is_told_to_run_what_is_in_a_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, content: bytes
) -> None:
    pytest.importorskip("torch")
    (tmp_path / "x.pth").write_bytes(content)
    status, _, said = run(capsys, "import", "panns", tmp_path / "x.pth", "--out", tmp_path / "out")
    assert status == 1 and said.count("\n") == 1 and "x.pth: not a file of weights" in said
    assert "weights_only" not in said and "execution" not in said


def test_weights_of_every_form_are_no_text(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    import safetensors.numpy

    arrays = {"a": np.zeros(3, np.float32)}
    forms: dict[str, Callable[[Path], Any]] = {
        "zip.pth": lambda path: torch.save({"a": torch.zeros(3)}, path),
        "old.pth": lambda path: torch.save({"a": torch.zeros(3)}, path, _use_new_zipfile_serialization=False),
        "a.npz": lambda path: np.savez(path, a=arrays["a"]),
        "a.safetensors": lambda path: safetensors.numpy.save_file(arrays, path),
        "a.onnx": lambda path: path.write_bytes(tiny_onnx.content()),
    }
    for name, write in forms.items():
        write(tmp_path / name)
        assert text_in((tmp_path / name).read_bytes()[:512]) == "", name
    assert text_in(b"\x89HDF\r\n\x1a\n\0\0\0") == text_in(b"\x1c\0\0\0TFL3\x14\0") == ""
