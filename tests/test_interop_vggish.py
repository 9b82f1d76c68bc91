"""The released VGGish: a state dict and a PCA become a model that embeds as the release does.

The released weights are not at hand. Frozen, well-scaled random ones stand for them: with those a wrong
flatten order, a ReLU too many or layers in another order move the embedding by far more than the tolerance,
which is tried here. The reference is written a second time, in NumPy, from the release's description.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from auricle.artifact import load_artifact
from auricle.embedding import embed_recording
from auricle.features import FeatureConfig, log_mel
from auricle.interop import vggish as vggish_import
from auricle.interop.vggish import HOP, WINDOW, import_vggish, read_arrays
from auricle.models.vggish import VGGish
from auricle.runners import check, load_runner
from auricle.tagging import Tagger

CONVOLUTIONS = {0: (1, 64), 3: (64, 128), 6: (128, 256), 8: (256, 256), 11: (256, 512), 13: (512, 512)}
POOL_AFTER = (0, 3, 8, 13)
SMALL = 0.0625  # of the published width: 4096 units are 300 MB of random numbers
SIZES = {64: 8, 128: 8, 256: 16, 512: 32, 4096: 256}  # what that width makes of them


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """VGGish at a sixteenth of its width, so that a test takes no half gigabyte."""
    monkeypatch.setattr(vggish_import, "VGGish", lambda **arguments: VGGish(width=SMALL, **arguments))
    real = vggish_import.save_artifact

    def save(*values, architecture, **fields):  # type: ignore[no-untyped-def]
        arguments = {**architecture["arguments"], "width": SMALL}
        return real(*values, architecture={**architecture, "arguments": arguments}, **fields)

    monkeypatch.setattr(vggish_import, "save_artifact", save)


@pytest.fixture(scope="module")
def released() -> dict[str, torch.Tensor]:
    """A state dict with the release's keys; He-scaled numbers from a frozen stream, small biases."""
    draw = np.random.Generator(np.random.PCG64(7))
    state: dict[str, np.ndarray] = {}

    def layer(name: str, *shape: int) -> None:
        state[f"{name}.weight"] = draw.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
        state[f"{name}.bias"] = 0.05 * draw.standard_normal(shape[0])

    for index, (size_in, size_out) in CONVOLUTIONS.items():
        layer(f"features.{index}", SIZES[size_out], SIZES.get(size_in, 1), 3, 3)
    layer("embeddings.0", 256, 6 * 4 * 32)
    layer("embeddings.2", 256, 256)
    layer("embeddings.4", 128, 256)
    return {name: torch.from_numpy(array.astype(np.float32)) for name, array in state.items()}


@pytest.fixture(scope="module")
def pca() -> dict[str, np.ndarray]:
    """An orthogonal matrix with whitening, which fills the range of -2..2 and beyond."""
    draw = np.random.default_rng(3)
    turn = np.linalg.qr(draw.standard_normal((128, 128)))[0]
    vectors = turn * draw.uniform(0.5, 2.0, (128, 1))
    return {"pca_means": 0.3 * draw.standard_normal(128), "pca_eigen_vectors": vectors}


@pytest.fixture
def files(tmp_path: Path, released: dict[str, torch.Tensor], pca: dict[str, np.ndarray]) -> tuple[str, str]:
    torch.save(released, tmp_path / "vggish.pth")
    np.savez(tmp_path / "pca.npz", **pca)
    return str(tmp_path / "vggish.pth"), str(tmp_path / "pca.npz")


def slow_embedding(
    logmel_TF: np.ndarray,
    state: dict[str, torch.Tensor],
    *,
    flatten: tuple[int, ...] = (1, 2, 0),
    relu: bool = False,
) -> np.ndarray:
    """The release's network in NumPy, float64: one patch (96, 64) -> (128,); maps are (C, T, F)."""
    maps = logmel_TF[None].astype(np.float64)
    for index in CONVOLUTIONS:
        weight, bias = (
            state[f"features.{index}.{part}"].numpy().astype(np.float64) for part in ("weight", "bias")
        )
        padded = np.pad(maps, ((0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
        maps = np.maximum(np.einsum("ctfij,ocij->otf", windows, weight) + bias[:, None, None], 0)
        if index in POOL_AFTER:
            channels, frames, bands = maps.shape
            maps = maps.reshape(channels, frames // 2, 2, bands // 2, 2).max(axis=(2, 4))
    values = maps.transpose(flatten).reshape(-1)
    for index in (0, 2, 4):
        weight, bias = (
            state[f"embeddings.{index}.{part}"].numpy().astype(np.float64) for part in ("weight", "bias")
        )
        values = weight @ values + bias
        if index < 4 or relu:
            values = np.maximum(values, 0)
    return values


def released_quantisation(embedding: np.ndarray, pca: dict[str, np.ndarray]) -> np.ndarray:
    """PCA, clip and 8 bits as in the release: subtract, turn, clip to [-2, 2], truncate."""
    turned = pca["pca_eigen_vectors"] @ (embedding - pca["pca_means"])
    return ((np.clip(turned, -2.0, 2.0) + 2.0) * (255.0 / 4.0)).astype(np.uint8)


def sound() -> np.ndarray:
    draw, time = np.random.default_rng(1), np.arange(3 * HOP + WINDOW + 77) / 16000
    return (
        0.2 * np.sin(2 * np.pi * 300 * time * (1 + time)) + 0.05 * draw.standard_normal(len(time))
    ).astype("f4")


def embed(model: Path, samples: np.ndarray) -> np.ndarray:
    windows = np.stack(
        [samples[start : start + WINDOW] for start in range(0, len(samples) - WINDOW + 1, HOP)]
    )
    return load_runner(load_artifact(model), threads=1, batch=2).run(windows)[1]


def test_embeds_as_the_release_does_before_any_relu(
    files: tuple[str, str], released: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    import_vggish(files[0], tmp_path / "model", quiet=True)
    samples = sound()
    ours = embed(tmp_path / "model", samples)
    assert ours.shape == (4, 128)
    frames = log_mel(samples, FeatureConfig(), np.float64)
    for number, row in enumerate(ours):
        patch = frames[96 * number : 96 * number + 96]
        expected = slow_embedding(patch, released)
        np.testing.assert_allclose(row, expected, atol=1e-3 * np.abs(expected).max(), rtol=0)
        for fault in ({"flatten": (0, 1, 2)}, {"flatten": (2, 1, 0)}, {"relu": True}):
            wrong = slow_embedding(patch, released, **fault)  # type: ignore[arg-type]
            assert np.abs(wrong - expected).max() > 0.2 * np.abs(expected).max()


def test_embeddings_are_whitened_clipped_and_truncated_to_8_bits(
    files: tuple[str, str], released: dict[str, torch.Tensor], pca: dict[str, np.ndarray], tmp_path: Path
) -> None:
    import_vggish(files[0], tmp_path / "plain", quiet=True)
    import_vggish(files[0], tmp_path / "model", pca=files[1], quiet=True)
    plain, ours = embed(tmp_path / "plain", sound()), embed(tmp_path / "model", sound())
    expected = np.stack([released_quantisation(row.astype(np.float64), pca) for row in plain])
    np.testing.assert_array_equal(ours, expected)  # truncated, not rounded: half of the values would differ
    assert len(np.unique(expected)) > 20


def test_the_released_pca_is_read(files: tuple[str, str], shared_data: Path, tmp_path: Path) -> None:
    model = import_vggish(
        files[0], tmp_path / "model", pca=str(shared_data / "vggish/vggish_pca_params.npz"), quiet=True
    )
    parameters = np.load(shared_data / "vggish/vggish_pca_params.npz")
    import_vggish(files[0], tmp_path / "plain", quiet=True)
    plain, ours = embed(tmp_path / "plain", sound()), embed(model.path, sound())
    expected = np.stack([released_quantisation(row.astype(np.float64), dict(parameters)) for row in plain])
    np.testing.assert_array_equal(ours, expected)


def test_the_model_checks_itself_embeds_recordings_and_says_that_it_has_no_labels(
    files: tuple[str, str], tmp_path: Path
) -> None:
    import soundfile

    model = import_vggish(files[0], tmp_path / "model", pca=files[1], quiet=True)
    assert model.labels == ()
    assert check(load_runner(model))["ok"]
    soundfile.write(tmp_path / "a.wav", sound(), 16000, "FLOAT")
    tagger = Tagger(str(model.path), threads=1)
    parts = list(embed_recording(tagger, str(tmp_path / "a.wav")))
    rows = np.concatenate([part.embeddings for part in parts])
    np.testing.assert_array_equal(rows[:4], embed(model.path, sound()))
    with pytest.raises(ValueError, match="has no labels, it embeds only: use `auricle embed`"):
        tagger.tag(str(tmp_path / "a.wav"))


def test_exports_to_a_graph_that_embeds_alike(files: tuple[str, str], tmp_path: Path) -> None:
    from auricle.interop.onnx import export_onnx

    model = import_vggish(files[0], tmp_path / "model", pca=files[1], quiet=True)
    graph = export_onnx(model.path, tmp_path / "vggish.onnx")
    assert check(load_runner(load_artifact(graph)))["ok"]
    assert np.abs(embed(graph, sound()) - embed(model.path, sound())).max() <= 1


def test_a_pca_inside_the_state_dict_is_used(
    files: tuple[str, str], released: dict[str, torch.Tensor], pca: dict[str, np.ndarray], tmp_path: Path
) -> None:
    inside = {f"pproc.{name}": torch.from_numpy(array) for name, array in pca.items()}
    inside["pproc.pca_means"] = inside["pproc.pca_means"].reshape(-1, 1)
    torch.save({**released, **inside}, tmp_path / "all.pth")
    both = import_vggish(str(tmp_path / "all.pth"), tmp_path / "both", quiet=True)
    apart = import_vggish(files[0], tmp_path / "apart", pca=files[1], quiet=True)
    np.testing.assert_array_equal(embed(both.path, sound()), embed(apart.path, sound()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("embeddings.4.bias"), "no embeddings.4.bias; not weights of VGGish"),
        (lambda state: state.update(head=torch.zeros(2)), "holds 'head', which VGGish has not"),
        (
            lambda state: state.update({"features.0.bias": torch.zeros(9)}),
            r"features.0.bias is \(9,\), expected",
        ),
        (
            lambda state: state.update({"embeddings.4.bias": torch.zeros(9)}),
            r"embeddings.4.bias is \(9,\), expected",
        ),
        (lambda state: state.update({"features.0.bias": torch.full((8,), torch.nan)}), "not finite"),
    ],
)
def test_other_weights_are_refused_by_name(change, message, released, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    state = dict(released)
    change(state)
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=message):
        import_vggish(str(tmp_path / "other.pth"), tmp_path / "model", quiet=True)
    assert not (tmp_path / "model").exists()


def test_weights_within_a_checkpoint_are_found(released: dict[str, torch.Tensor], tmp_path: Path) -> None:
    torch.save({"epoch": 3, "state_dict": released}, tmp_path / "checkpoint.pth")
    found = read_arrays(tmp_path / "checkpoint.pth")
    assert found.keys() == released.keys()


@pytest.mark.parametrize("suffix", [".pth", ".npz", ".safetensors"])
def test_a_file_that_is_no_weights_is_one_line(suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"text{suffix}").write_text("not weights")
    with pytest.raises(ValueError, match="not a file of weights that can be read") as caught:
        read_arrays(tmp_path / f"text{suffix}")
    assert "\n" not in str(caught.value)


def test_code_in_a_file_of_weights_is_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (exec, ("raise SystemExit('ran')",))

    torch.save({"features.0.weight": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match="not a file of weights"):
        read_arrays(tmp_path / "evil.pth")


def test_a_wrong_checksum_is_refused_before_the_file_is_opened(
    files: tuple[str, str], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="another or a damaged file, which was not used"):
        import_vggish(files[0], tmp_path / "model", sha256="00" * 32, quiet=True)
    with pytest.raises(ValueError, match="another or a damaged file, which was not used"):
        import_vggish(files[0], tmp_path / "model", pca=files[1], pca_sha256="00" * 32, quiet=True)


def test_classes_are_not_learned_on_quantised_embeddings() -> None:
    with pytest.raises(ValueError, match="postprocess is for num_classes 0"):
        VGGish(num_classes=3, postprocess=True, width=SMALL)
