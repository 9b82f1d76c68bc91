"""Checkpoints as training loops write them are read; what is none is called what it is."""

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")
import torch

from auricle.interop.efficientat import import_efficientat
from auricle.interop.panns import import_panns
from auricle.interop.state import check_arrays, read_arrays, with_counters

WEIGHTS = {"bn0.weight": torch.arange(3.0), "fc.bias": torch.zeros(2)}


@pytest.mark.parametrize(
    "beside",
    [
        np.random.RandomState(0).get_state(),  # what legacy code keeps
        *(np.zeros(2, kind) for kind in ("int8", "uint16", "uint32", "uint64", "float16", "complex64")),
        np.zeros(2, np.longlong),
        np.array(["a", "bc"]),
        np.str_("x"),
        np.bytes_(b"x"),
        {"lr": np.float32(0.1), "best": np.bool_(True)},
    ],
    ids=lambda value: type(value).__name__ + str(getattr(value, "dtype", "")),
)
def test_numpys_arrays_may_stand_beside_the_weights(beside: Any, tmp_path: Path) -> None:
    torch.save({"model": WEIGHTS, "beside": beside}, tmp_path / "a.pth")
    assert list(read_arrays(tmp_path / "a.pth")) == list(WEIGHTS)


@pytest.mark.parametrize(
    "beside", [np.array([None, {}], object), np.zeros(2, [("a", "O")]), np.zeros(2, [("a", "f4")])]
)
def test_arrays_that_hold_more_than_numbers_are_called_so_and_not_read(beside: Any, tmp_path: Path) -> None:
    torch.save({"model": WEIGHTS, "beside": beside}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"it holds a numpy\.dtypes?\.\w+, which is no plain array; nothing"):
        read_arrays(tmp_path / "a.pth")


@pytest.mark.parametrize("within", ["state_dict", "model", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["", "module.", "model.", "net.", "model.module."])
def test_weights_within_a_checkpoint_and_another_module_are_found(
    within: str, prefix: str, tmp_path: Path
) -> None:
    state = OrderedDict((f"{prefix}{name}", value) for name, value in WEIGHTS.items())
    torch.save({within: state, "epoch": 3, "hyper_parameters": {"lr": 0.1}}, tmp_path / "a.ckpt")
    assert list(read_arrays(tmp_path / "a.ckpt")) == list(WEIGHTS)
    torch.save({"model": {within: state, "epoch": 3}}, tmp_path / "a.ckpt")
    assert list(read_arrays(tmp_path / "a.ckpt")) == list(WEIGHTS)


@pytest.mark.parametrize("name", ["a.pth", "a.npz"])
def test_a_byte_that_changed_on_the_way_is_found(name: str, tmp_path: Path) -> None:
    weights = torch.arange(999.0)
    path = tmp_path / name
    if name == "a.npz":
        np.savez(path, x=weights.numpy())
    else:
        torch.save({"x": weights}, path)
    content = bytearray(path.read_bytes())
    content[content.index(weights[500:510].numpy().tobytes())] ^= 64
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name}: not a file of weights that can be read \(.*CRC"):
        read_arrays(path)


def test_a_file_that_was_written_without_checksums_is_read(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(WEIGHTS, tmp_path / "a.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    assert list(read_arrays(tmp_path / "a.pth")) == list(WEIGHTS)


def test_names_behind_another_beginning_are_told(tmp_path: Path) -> None:
    for before, sign, importer in (
        ("backbone.", "conv_block4.conv1.weight", import_panns),
        ("model.", "features.0.0.weight", import_efficientat),
    ):
        torch.save({before + sign: torch.zeros(2), "loss_fn.weight": torch.zeros(2)}, tmp_path / "a.ckpt")
        with pytest.raises(ValueError, match=f"names here begin with '{before}': save the weights without"):
            importer(tmp_path / "a.ckpt", tmp_path / "out")  # and without a word of settings before it
    with pytest.raises(ValueError, match=r"none\.pth: no such file"):
        read_arrays(tmp_path / "none.pth")


def test_what_else_is_in_a_file_is_named(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "weights": WEIGHTS, "optimizer": {}, "seed": 1}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match="got epoch, weights, optimizer and 1 more in a dict$"):
        read_arrays(tmp_path / "a.pth")


def test_files_of_other_forms_are_called_what_they_are(tmp_path: Path) -> None:
    torch.save(WEIGHTS, tmp_path / "whole.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "whole.pth").read_bytes()[:-40])
    (tmp_path / "keras.pth").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    for name, message in (
        ("cut.pth", "a ZIP file without its end: damaged, or not fetched to the end"),
        ("keras.pth", "an HDF5 file, as Keras writes them: of these only YAMNet's is known"),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            import_panns(tmp_path / name, tmp_path / "out")
        assert "\n" not in str(caught.value) and "miniz" not in str(caught.value)


def test_counters_are_all_that_may_be_missing() -> None:
    expected: dict[str, tuple[int, ...]] = {"bn.weight": (3,), "bn.num_batches_tracked": ()}
    arrays = {"bn.weight": np.zeros(3)}
    check_arrays(with_counters(arrays, expected), expected, Path("a.pth"), "mn")
    assert arrays.keys() == {"bn.weight"}, "what was given stays as it is"
    with pytest.raises(ValueError, match="no bn.weight; not weights of mn"):
        check_arrays(with_counters({}, expected), expected, Path("a.pth"), "mn")
