"""Models that take embeddings: saved with what embeds, loaded with it, run on waveforms like any other."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tiny_model
from onnx import TensorProto, helper, numpy_helper

from auricle.artifact import Artifact, embedding_input, load_artifact, save_artifact
from auricle.runners import check, load_runner
from auricle.runners.composed import embed_windows
from auricle.tagging import Tagger

T, D, HIDDEN = 3, 4, 6
HOP = 500  # of the embedder: its windows overlap
WINDOW = tiny_model.WINDOW + (T - 1) * HOP


def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    return {
        "first.weight": rng.standard_normal((HIDDEN, T * D)).astype(np.float32),
        "head.weight": rng.standard_normal((3, HIDDEN)).astype(np.float32),
    }


def onnx_head() -> bytes:
    """(batch, T, D) -> linear, relu -> embedding (6) -> linear -> logits."""
    weights = {name.replace(".", "_"): array.T for name, array in arrays().items()}
    weights["flat"] = np.array([-1, T * D], np.int64)
    nodes = [
        helper.make_node("Reshape", ["embeddings", "flat"], ["x"]),
        helper.make_node("MatMul", ["x", "first_weight"], ["y"]),
        helper.make_node("Relu", ["y"], ["embedding"]),
        helper.make_node("MatMul", ["embedding", "head_weight"], ["logits"]),
    ]
    body = helper.make_graph(
        nodes,
        "head",
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["batch", T, D])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3]),
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", HIDDEN]),
        ],
        [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in weights.items()],
    )
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return bytes(model.SerializeToString())


def by_hand(embedder: Path, waveforms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits and embeddings, window by window, one matrix after the other."""
    runner = load_runner(load_artifact(embedder), threads=1)
    answers = []
    for waveform in waveforms:
        cut = [waveform[None, start : start + tiny_model.WINDOW] for start in range(0, T * HOP, HOP)]
        x = np.concatenate([runner.run(window)[1][0] for window in cut])
        hidden = np.maximum(arrays()["first.weight"] @ x, 0)
        answers.append((arrays()["head.weight"] @ hidden, hidden))
    logits, embeddings = zip(*answers, strict=True)
    return np.array(logits), np.array(embeddings)


def waves(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (count, WINDOW)).astype(np.float32)


@pytest.fixture
def embedder(tmp_path: Path) -> Path:
    return tiny_model.save(tmp_path / "embeds", hop=HOP, attachments={"THANKS.txt": b"to all"}).path


def save_head(path: Path, below: Path, **changes: Any) -> Artifact:
    fields: dict[str, Any] = {
        "onnx": onnx_head(),
        "embedder": below,
        "inputs": [embedding_input(load_artifact(below), T)],
        "labels": tiny_model.LABELS,
        "window": WINDOW,
        "hop": T * HOP,
        "embedding_size": HIDDEN,
    }
    if "check" not in changes:
        fields["check"] = waves(1), by_hand(below, waves(1))[0]
    return save_artifact(path, **(fields | changes))


def torch_head() -> dict[str, Any]:
    """Fields that make the same head one of torch, registered as "tiny_head" by the fixture below."""
    return {"onnx": None, "weights": arrays(), "architecture": {"name": "tiny_head", "arguments": {}}}


@pytest.fixture
def tiny_head(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    from auricle.models import MODELS

    class TinyHead(torch.nn.Module):  # type: ignore[name-defined,misc]
        num_classes, embedding_size, input_kind = 3, HIDDEN, "embedding"

        def __init__(self) -> None:
            super().__init__()
            self.first = torch.nn.Linear(T * D, HIDDEN, bias=False)
            self.head = torch.nn.Linear(HIDDEN, 3, bias=False)

        def embed(self, x: Any) -> Any:
            assert x.shape[1:] == (T, D)
            return torch.relu(self.first(x.flatten(1)))

        def forward(self, x: Any) -> Any:
            return self.head(self.embed(x))

    torch.set_num_threads(1)
    monkeypatch.setitem(MODELS, "tiny_head", TinyHead)


@pytest.mark.parametrize("backend", ["onnx", "torch"])
def test_waveforms_in_and_the_heads_answers_out(
    tmp_path: Path, embedder: Path, tiny_head: None, backend: str
) -> None:
    changes = torch_head() if backend == "torch" else {}
    saved = save_head(tmp_path / "m", embedder, **changes)
    loaded = load_artifact(tmp_path / "m")
    assert loaded == saved and loaded.backend == backend
    assert (loaded.embedder_windows, loaded.rate, loaded.window) == (T, 8000, WINDOW)
    assert loaded.embedder is not None
    assert loaded.embedder.fingerprint == load_artifact(embedder).fingerprint
    runner = load_runner(loaded, threads=1, batch=4)
    logits, embeddings = runner.run(waves(7))
    expected = by_hand(embedder, waves(7))
    np.testing.assert_allclose(logits, expected[0], atol=1e-5)
    np.testing.assert_allclose(embeddings, expected[1], atol=1e-5)
    assert np.abs(logits).max() > 0.1 and len(np.unique(logits[:, 0])) == 7
    assert check(runner)["ok"]


@pytest.mark.parametrize("backend", ["onnx", "torch"])
def test_a_window_scores_the_same_beside_any_neighbours(
    tmp_path: Path, embedder: Path, tiny_head: None, backend: str
) -> None:
    runner = load_runner(
        save_head(tmp_path / "m", embedder, **(torch_head() if backend == "torch" else {})),
        threads=1,
        batch=4,
    )
    one = waves(1, seed=9)
    logits, embeddings = runner.run(one)
    for place in range(9):
        others = waves(9, seed=place)
        others[place] = one
        found, embedded = runner.run(others)
        np.testing.assert_array_equal(found[place], logits[0])
        np.testing.assert_array_equal(embedded[place], embeddings[0])


def test_the_embedders_windows_are_cut_by_its_own_hop(embedder: Path) -> None:
    runner = load_runner(load_artifact(embedder), threads=1)
    found = embed_windows(runner, waves(2))
    assert found.shape == (2, T, D)
    for row in range(2):
        for window in range(T):
            start = window * HOP
            alone = runner.run(waves(2)[row : row + 1, start : start + tiny_model.WINDOW])[1][0]
            np.testing.assert_array_equal(found[row, window], alone)
    for samples in (tiny_model.WINDOW - HOP, tiny_model.WINDOW + 1):
        with pytest.raises(ValueError, match=f"expected waveforms of 2000 samples .* got {samples}"):
            embed_windows(runner, np.zeros((1, samples), np.float32))


def test_the_whole_embedder_goes_along_and_takes_no_more_space(tmp_path: Path, embedder: Path) -> None:
    save_head(tmp_path / "m", embedder)
    for name in ("model.json", "model.onnx", "check.safetensors", "README.md", "THANKS.txt"):
        assert (tmp_path / "m" / "embedder" / name).read_bytes() == (embedder / name).read_bytes(), name
    assert (embedder / "model.onnx").samefile(tmp_path / "m" / "embedder" / "model.onnx")
    shutil.rmtree(embedder)
    assert check(load_runner(load_artifact(tmp_path / "m"), threads=1))["ok"], "it stands alone"
    moved = (tmp_path / "m").rename(tmp_path / "elsewhere")
    assert "by the model in the folder embedder" in (moved / "README.md").read_text()


def test_where_no_link_can_be_made_it_is_copied(
    tmp_path: Path, embedder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refused)
    save_head(tmp_path / "m", embedder)
    assert not (embedder / "model.onnx").samefile(tmp_path / "m" / "embedder" / "model.onnx")
    assert check(load_runner(load_artifact(tmp_path / "m"), threads=1))["ok"]


def test_a_single_onnx_file_may_embed(tmp_path: Path) -> None:
    file = tiny_model.save_file(tmp_path / "tiny.onnx")
    model = onnx.load(file)
    described = json.loads(model.metadata_props[0].value) | {"hop": HOP}
    model.metadata_props[0].value = json.dumps(described)
    onnx.save(model, file)
    saved = save_head(tmp_path / "m", file)
    assert saved.embedder is not None and saved.embedder.fingerprint == load_artifact(file).fingerprint
    assert check(load_runner(saved, threads=1))["ok"] and saved.changed_parts() == []


def test_saving_again_replaces_the_embedder_too(tmp_path: Path, embedder: Path) -> None:
    save_head(tmp_path / "m", embedder)
    save_head(tmp_path / "m", embedder, licence="other")
    assert load_artifact(tmp_path / "m").licence == "other"
    # A model may itself be the source of what takes its place.
    save_head(tmp_path / "m", tmp_path / "m" / "embedder", licence="third")
    assert check(load_runner(load_artifact(tmp_path / "m"), threads=1))["ok"]


def test_heads_stand_on_heads(tmp_path: Path, embedder: Path) -> None:
    middle = save_head(tmp_path / "middle", embedder)
    weights = {"matrix": np.eye(HIDDEN, 3, dtype=np.float32)}
    nodes = [
        helper.make_node("Squeeze", ["embeddings", "axis"], ["embedding"]),
        helper.make_node("MatMul", ["embedding", "matrix"], ["logits"]),
    ]
    body = helper.make_graph(
        nodes,
        "top",
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["batch", 1, HIDDEN])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3]),
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", HIDDEN]),
        ],
        [
            numpy_helper.from_array(weights["matrix"], "matrix"),
            numpy_helper.from_array(np.array([1], np.int64), "axis"),
        ],
    )
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    expected = by_hand(embedder, waves(2))[1]
    top = save_head(
        tmp_path / "top",
        middle.path,
        onnx=model.SerializeToString(),
        inputs=[embedding_input(middle)],
        check=(waves(2), expected[:, :3]),
    )
    assert check(load_runner(top, threads=1))["ok"]
    logits, embeddings = load_runner(top, threads=1).run(waves(2))
    np.testing.assert_allclose(embeddings, expected, atol=1e-5)


def test_a_composed_model_tags_like_any_other(tmp_path: Path, embedder: Path) -> None:
    import soundfile

    save_head(tmp_path / "m", embedder)
    sound = waves(1, seed=4)[0] * 0.5
    soundfile.write(tmp_path / "a.wav", sound, 8000, subtype="FLOAT")
    tagger = Tagger(tmp_path / "m", threads=1)
    (part,) = tagger.windows(tmp_path / "a.wav")
    np.testing.assert_allclose(part.logits, by_hand(embedder, sound[None])[0], atol=1e-4)
    assert tagger.tag(tmp_path / "a.wav")["tags"]


def test_the_fingerprint_follows_the_embedder(tmp_path: Path, embedder: Path) -> None:
    first = save_head(tmp_path / "m", embedder).fingerprint
    other = tiny_model.save(tmp_path / "other", hop=HOP, labels=["a", "b", "c"])
    assert save_head(tmp_path / "n", other.path).fingerprint != first
    assert save_head(tmp_path / "o", embedder, name="renamed").fingerprint == first


@pytest.mark.parametrize("name", ["model.json", "model.onnx", "check.safetensors"])
def test_a_changed_embedder_is_named_by_check(tmp_path: Path, embedder: Path, name: str) -> None:
    save_head(tmp_path / "m", embedder)
    assert load_artifact(tmp_path / "m").changed_parts() == []
    file = tmp_path / "m" / "embedder" / name
    if name == "model.json":
        content = file.read_text().replace('"rain"', '"snow"').encode()
    else:
        content = bytes(
            byte ^ (index == file.stat().st_size - 1) for index, byte in enumerate(file.read_bytes())
        )
    file.unlink()
    file.write_bytes(content)
    assert load_artifact(tmp_path / "m").changed_parts() == [f"embedder/{name}"]


def test_another_embedder_in_its_place_is_refused(tmp_path: Path, embedder: Path) -> None:
    save_head(tmp_path / "m", embedder)
    other = tiny_model.save(tmp_path / "other", hop=HOP, labels=["a", "b", "c"])
    shutil.rmtree(tmp_path / "m" / "embedder")
    shutil.copytree(other.path, tmp_path / "m" / "embedder")
    loaded = load_artifact(tmp_path / "m")
    assert loaded.changed_parts() == ["embedder/model.json"]
    with pytest.raises(ValueError, match="is not the embedder that the model was trained with"):
        load_runner(loaded, threads=1)
    tiny_model.save(tmp_path / "far", hop=HOP + 1)
    shutil.rmtree(tmp_path / "m" / "embedder")
    with pytest.raises(ValueError, match=r"embedder/model\.json: missing; expected a model's folder"):
        load_artifact(tmp_path / "m")
    shutil.copytree(tmp_path / "far", tmp_path / "m" / "embedder")
    with pytest.raises(ValueError, match=r"m/model\.json: field 'window': 3000, but 3 windows .* 3002"):
        load_artifact(tmp_path / "m")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"windows": 0}, r"'inputs\[0\]\.windows': expected a positive integer, got 0"),
        ({"size": "4"}, r"'inputs\[0\]\.size': expected a positive integer, got '4'"),
        ({"fingerprint": "abc"}, r"'inputs\[0\]\.fingerprint': expected a SHA-256"),
        ({"size": 5}, r"'inputs\[0\]\.size': 5, but the embedder gives 4 values"),
        ({"rate": 16000}, r"'inputs\[0\]\.rate': 16000 Hz, but the embedder takes 8000 Hz"),
        ({"windows": 2}, r"'window': 3000, but 2 windows of the embedder cover 2500 samples"),
        ({"fingerprint": "0" * 64}, "is not the embedder whose fingerprint"),
    ],
)
def test_an_input_that_the_embedder_does_not_give_is_refused(
    tmp_path: Path, embedder: Path, changes: dict[str, Any], message: str
) -> None:
    inputs = [embedding_input(load_artifact(embedder), T) | changes]
    with pytest.raises(ValueError, match=message):
        save_head(tmp_path / "m", embedder, inputs=inputs)
    assert not (tmp_path / "m").exists()


def test_head_and_embedder_come_together_or_not_at_all(tmp_path: Path, embedder: Path) -> None:
    with pytest.raises(ValueError, match="the model takes embeddings; give the `embedder`"):
        save_head(tmp_path / "m", embedder, embedder=None)
    with pytest.raises(ValueError, match="an embedder is given, but `inputs` has no entry"):
        save_head(tmp_path / "m", embedder, inputs=[{"kind": "waveform", "rate": 8000}])
    two = [{"kind": "waveform", "rate": 8000}, embedding_input(load_artifact(embedder), T)]
    with pytest.raises(ValueError, match="net of two inputs .* runs on 'torch' only"):
        save_head(tmp_path / "m", embedder, inputs=two)


def test_a_net_and_its_description_must_take_the_same(
    tmp_path: Path, embedder: Path, tiny_head: None
) -> None:
    wrong = torch_head() | {"embedder": None, "inputs": [{"kind": "waveform", "rate": 8000}]}
    saved = save_head(tmp_path / "m", embedder, **wrong)
    with pytest.raises(ValueError, match="tiny_head takes 'embedding', but field 'inputs' says 'waveform'"):
        load_runner(saved)
    graph = save_head(tmp_path / "n", embedder, onnx=tiny_model.graph())
    with pytest.raises(ValueError, match="expected a graph embeddings -> logits, embedding; got waveform ->"):
        load_runner(graph)


def test_a_net_on_raw_waveforms_runs_from_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    from auricle.models import MODELS

    class Raw(torch.nn.Module):  # type: ignore[name-defined,misc]
        num_classes, embedding_size, input_kind = 3, 4, "waveform"

        def __init__(self) -> None:
            super().__init__()
            self.convolution = torch.nn.Conv1d(1, 4, 64, stride=16)
            self.head = torch.nn.Linear(4, 3)

        def embed(self, x: Any) -> Any:
            return torch.relu(self.convolution(x[:, None])).mean(2)

        def forward(self, x: Any) -> Any:
            return self.head(self.embed(x))

    torch.set_num_threads(1)
    torch.manual_seed(0)
    monkeypatch.setitem(MODELS, "raw", Raw)
    net, x = Raw(), waves(5)
    with torch.inference_mode():
        expected = net(torch.from_numpy(x)).numpy()
    saved = save_artifact(
        tmp_path / "m",
        weights={name: tensor.numpy() for name, tensor in net.state_dict().items()},
        architecture={"name": "raw", "arguments": {}},
        inputs=[{"kind": "waveform", "rate": 8000}],
        labels=tiny_model.LABELS,
        window=WINDOW,
        hop=WINDOW,
        embedding_size=4,
        check=(x, expected),
    )
    runner = load_runner(load_artifact(saved.path), threads=1, batch=2)
    np.testing.assert_allclose(runner.run(x)[0], expected, atol=1e-5)
    np.testing.assert_array_equal(runner.run(x[3:4])[0][0], runner.run(x)[0][3])
    assert check(runner)["ok"]
    with pytest.raises(ValueError, match="the model has no log-mel input"):
        _ = saved.features
