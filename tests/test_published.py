"""Published models by name: fetched and made once, and then a model like any other."""

import dataclasses
import hashlib
import json
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from loopback import Server, names, serving
from running import run

from auricle.artifact import is_published, load_artifact
from auricle.cli import completion
from auricle.interop import published
from auricle.interop.published import LISTED, PUBLISHED, describe_published, file_path, obtain

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(b"") as server:
        yield server


@pytest.fixture
def tiny(server: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of a published model whose file the server has: a TFLite graph."""
    pytest.importorskip("ai_edge_litert")
    import tiny_tflite

    from auricle.interop.tflite import import_tflite

    server.content = tiny_tflite.content()
    entry = dataclasses.replace(
        PUBLISHED["yamnet-int8"],
        name="tiny",
        address=server.url("tiny.tflite"),
        file="tiny.tflite",
        megabytes=len(server.content) / 1e6,
        sha256="",
    )

    def importer(entry: published.Published, file: Path, out: Path) -> None:
        import_tflite(file, out, rate=tiny_tflite.RATE, labels=tiny_tflite.LABELS, name=entry.name)

    monkeypatch.setitem(PUBLISHED, "tiny", entry)
    monkeypatch.setitem(published.IMPORTERS, entry.system, importer)
    return entry.name


def test_a_name_is_fetched_and_made_once(server: Server, own_cache: Path, tiny: str) -> None:
    first = load_artifact(tiny)
    assert first.path == own_cache / "published" / "models" / "tiny" == obtain(tiny)
    assert (first.name, first.labels) == ("tiny", ("dog", "rain", "clock"))
    assert load_artifact(tiny) == first and len(server.asked) == 1
    assert names(own_cache / "published") == ["models", "tiny.tflite", "tiny.tflite.sha256"]
    assert names(own_cache / "published" / "models") == ["tiny"]


def test_verbs_take_the_name(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = np.random.default_rng(0).uniform(-0.3, 0.3, 8000).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", sound, 8000)
    status, printed, said = run(capsys, "tag", tmp_path / "a.wav", "--model", tiny, "--format", "jsonl")
    assert status == 0 and {tag["label"] for tag in json.loads(printed)["tags"]} <= {"dog", "rain", "clock"}
    assert "making the model tiny of tiny.tflite, once" in said
    monkeypatch.setenv("AURICLE_OFFLINE", "1")
    assert run(capsys, "embed", tmp_path / "a.wav", "--model", tiny, "--out", tmp_path / "x.parquet")[0] == 0
    assert run(capsys, "check", tiny)[0] == 0
    assert run(capsys, "index", tmp_path / "a.wav", "--model", tiny, "--out", tmp_path / "index")[0] == 0
    monkeypatch.chdir(tmp_path)
    assert run(capsys, "find", tmp_path / "a.wav", "--index", tmp_path / "index")[0] == 0, (
        "found from anywhere"
    )


def test_offline_one_line_says_what_to_fetch_and_where_to_put_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AURICLE_OFFLINE", "1")
    monkeypatch.setattr(published, "find_spec", lambda name: True)
    soundfile.write(tmp_path / "a.wav", np.zeros(100), 8000)
    status, _, said = run(capsys, "tag", tmp_path / "a.wav", "--model", "panns-cnn14")
    assert status == 1 and said.count("\n") == 1
    entry = PUBLISHED["panns-cnn14"]
    assert entry.address in said and str(file_path(entry)) in said and "327 MB" in said
    assert "not downloaded yet, and AURICLE_OFFLINE is set" in said


def test_a_server_that_is_not_there_is_one_line_too(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(b"") as gone:
        address = gone.url("tiny.tflite")
    monkeypatch.setitem(PUBLISHED, tiny, dataclasses.replace(PUBLISHED[tiny], address=address))
    with pytest.raises(
        ValueError, match=r"cannot be reached .*; fetch that file .* put it at .*tiny\.tflite$"
    ):
        load_artifact(tiny)


@pytest.mark.parametrize("closed", ["cache", "record"])
def test_what_cannot_be_written_is_told_with_the_folder_and_how_to_choose_another(
    capsys: pytest.CaptureFixture[str],
    own_cache: Path,
    tiny: str,
    monkeypatch: pytest.MonkeyPatch,
    closed: str,
) -> None:
    """A cache that is no folder for this user; and one in which only the checksum cannot be kept."""
    if closed == "cache":
        own_cache.parent.mkdir(exist_ok=True)
        own_cache.write_text("no folder")
        status, _, said = run(capsys, "check", tiny, "--quiet")
        assert (
            status == 1 and said.count("\n") == 1 and "error: tiny: its file and its model are kept" in said
        )
        assert (
            str(own_cache / "published") in said
            and "to keep them in another folder set AURICLE_CACHE" in said
        )
        return

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", f"{path}.sha256.1.tmp")

    monkeypatch.setattr(published, "pin", refuse)
    with pytest.warns(
        UserWarning, match=r"tiny: the model is made, but .*\.tflite\.sha256 cannot be written"
    ):
        assert load_artifact(tiny).name == "tiny"


def test_a_file_that_was_put_there_by_hand_is_taken(server: Server, tiny: str) -> None:
    path = file_path(PUBLISHED[tiny])
    path.parent.mkdir(parents=True)
    path.write_bytes(server.content)
    assert load_artifact(tiny).name == "tiny" and server.asked == []


@pytest.mark.parametrize("content", [b"\0" * 500, b"cut"])
def test_a_file_without_a_model_in_it_does_not_become_the_one_that_counts(
    capsys: pytest.CaptureFixture[str], server: Server, own_cache: Path, tiny: str, content: bytes
) -> None:
    """Also where a server that tells no length ends too early; the next try begins anew, and is well."""
    right, server.length_told = server.content, False
    server.content = right[: len(right) * 2 // 3] if content == b"cut" else content.ljust(len(right), b"\0")
    soundfile.write(own_cache.parent / "a.wav", np.zeros(100), 8000)
    status, _, said = run(capsys, "tag", own_cache.parent / "a.wav", "--model", tiny, "--quiet")
    assert status == 1 and said.count("\n") == 1, said
    assert "tiny.tflite gave was removed" in said and "try again, or fetch that file" in said
    assert names(own_cache / "published") == ["models"]
    server.content = right
    assert load_artifact(tiny).name == "tiny"
    assert names(own_cache / "published") == ["models", "tiny.tflite", "tiny.tflite.sha256"]


def test_a_file_that_somebody_put_there_stays_though_there_is_no_model_in_it(
    server: Server, own_cache: Path, tiny: str
) -> None:
    path = file_path(PUBLISHED[tiny])
    path.parent.mkdir(parents=True)
    path.write_bytes(b"<html>")
    with pytest.raises(
        ValueError, match=r"but a web page.*if that is not the file of http.*, remove .*tflite$"
    ):
        load_artifact(tiny)
    assert path.read_bytes() == b"<html>" and names(path.parent) == ["models", "tiny.tflite"]
    path.write_bytes(server.content)
    assert load_artifact(tiny).name == "tiny" and server.asked == []


@pytest.mark.parametrize("by_hand", [True, False])
def test_a_wrong_checksum_says_what_to_fetch_and_where_to_put_it(
    capsys: pytest.CaptureFixture[str],
    server: Server,
    tiny: str,
    monkeypatch: pytest.MonkeyPatch,
    by_hand: bool,
) -> None:
    right = server.content
    entry = dataclasses.replace(PUBLISHED[tiny], sha256=hashlib.sha256(right).hexdigest())
    monkeypatch.setitem(PUBLISHED, tiny, entry)
    path, server.content = file_path(entry), right[:-1] + b"x"
    if by_hand:
        path.parent.mkdir(parents=True)
        path.write_bytes(right[:-9])
    status, _, said = run(capsys, "check", tiny, "--quiet")
    again = rf"remove it, and it is fetched again from {entry.address}; or" if by_hand else "try again, or"
    told = rf"tiny: .*a damaged file, which was not used; {again} fetch that file .* put it at {path}\n"
    assert status == 1 and re.fullmatch(rf"auricle: error: {told}", said), said
    assert path.is_file() == by_hand
    server.content = right
    path.unlink(missing_ok=True)
    assert load_artifact(tiny).name == "tiny"


def test_what_its_network_needs_is_said_before_anything_is_fetched(
    server: Server, tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published, "find_spec", lambda name: None)
    with pytest.raises(
        ModuleNotFoundError, match=r"tiny needs ai_edge_litert.*pip install 'auricle\[tflite\]'"
    ):
        load_artifact(tiny)
    monkeypatch.setitem(PUBLISHED, tiny, dataclasses.replace(PUBLISHED[tiny], system="YAMNet"))
    with pytest.raises(ModuleNotFoundError, match=r"needs torch,h5py.*'auricle\[train,hdf5\]'"):
        load_artifact(tiny)
    assert server.asked == []


def test_processes_that_want_the_same_model_make_it_once(server: Server, own_cache: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    import tiny_tflite

    server.content, server.stalls = tiny_tflite.content(), 0.2
    script = f"""
import dataclasses, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import tiny_tflite
from auricle.artifact import load_artifact
from auricle.interop import published
from auricle.interop.tflite import import_tflite
fields = {{"name": "tiny", "address": sys.argv[1], "sha256": "", "megabytes": 0.0138}}
entry = dataclasses.replace(published.PUBLISHED["yamnet-int8"], **fields)
published.PUBLISHED["tiny"] = entry
def importer(entry, file, out):
    print("made", flush=True)
    import_tflite(file, out, rate=tiny_tflite.RATE, labels=tiny_tflite.LABELS)
published.IMPORTERS[entry.system] = importer
print(load_artifact("tiny").fingerprint)
"""
    command = [sys.executable, "-c", script, server.url("tiny.tflite")]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) for _ in range(2)]
    printed = "".join(process.communicate(timeout=60)[0] for process in running).split()
    assert printed.count("made") == 1 and len(set(printed) - {"made"}) == 1
    assert len(server.asked) == 1


def test_a_folder_of_that_name_wins(tmp_path: Path, tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = load_artifact(tiny)
    made.path.rename(tmp_path / "panns-cnn14")
    monkeypatch.chdir(tmp_path)
    assert load_artifact("panns-cnn14").name == "tiny"
    assert is_published("panns-cnn10") and not is_published("default")
    with pytest.raises(ValueError, match="nor one that auricle models --published lists"):
        load_artifact("panns-cnn15")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("PANNs-Cnn14", "panns-cnn14"),
        ("panns-mobilenet_v1", "panns-mobilenetv1"),
        ("mn10", "efficientat-mn10"),
    ],
)
def test_a_name_that_is_nearly_right_is_told_the_right_one(name: str, meant: str) -> None:
    with pytest.raises(ValueError, match=rf"no model {name}: .* it may be meant for {meant}( or |$)"):
        load_artifact(name)
    with pytest.raises(ValueError, match="published lists$"):
        load_artifact(f"runs/{name}")


def test_the_file_that_is_here_is_the_one_that_was_published(shared_data: Path) -> None:
    """YAMNet's int8 file of the shared data has the checksum that stands in the list."""
    content = (shared_data / "yamnet" / "yamnet-int8.tflite").read_bytes()
    assert hashlib.sha256(content).hexdigest() == PUBLISHED["yamnet-int8"].sha256
    assert round(len(content) / 1e6, 1) == PUBLISHED["yamnet-int8"].megabytes


def test_yamnet_by_name_is_the_import_of_its_file(shared_data: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    path = file_path(PUBLISHED["yamnet-int8"])
    path.parent.mkdir(parents=True)
    path.symlink_to(shared_data.resolve() / "yamnet" / "yamnet-int8.tflite")
    saved = load_artifact("yamnet-int8")
    assert (saved.rate, saved.window, saved.num_classes, saved.embedding_size) == (16000, 15600, 521, 1024)


def test_real_importers_are_given_what_they_take(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints of the released nesting and names, narrow ones, lie where the files are put by hand.

    A file of that name and another checksum than the listed one is told, and has not the release's licence.
    """
    torch = pytest.importorskip("torch")
    from efficientat_release import arrays_of
    from panns_release import front_end, frozen_arrays, released_shapes, write_checkpoint

    from auricle.interop.panns import import_panns

    monkeypatch.setenv("AURICLE_OFFLINE", "1")
    for name in ("panns-cnn6", "efficientat-mn04"):
        monkeypatch.setitem(PUBLISHED, name, dataclasses.replace(PUBLISHED[name], md5="", sha256=""))
    file_path(PUBLISHED["panns-cnn6"]).parent.mkdir(parents=True)
    arrays = frozen_arrays(released_shapes("cnn6", width=0.0625, classes=527)) | front_end(32000)
    write_checkpoint(file_path(PUBLISHED["panns-cnn6"]), arrays)
    torch.save(arrays_of(0.1), file_path(PUBLISHED["efficientat-mn04"]))
    for name, licence in (("panns-cnn6", "CC-BY-4.0"), ("efficientat-mn04", "MIT")):
        saved = load_artifact(name)
        assert (saved.name, saved.licence, saved.rate) == (name, licence, 32000)
        assert saved.num_classes == 527 and saved.labels[0] == "Speech"
    file, out = file_path(PUBLISHED["panns-cnn6"]), own_cache / "own"
    md5 = hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()
    for listed, licence in ((md5, "CC-BY-4.0"), ("0" * 32, "")):
        monkeypatch.setitem(PUBLISHED, "panns-cnn6", dataclasses.replace(PUBLISHED["panns-cnn6"], md5=listed))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            import_panns(file, out)
        assert load_artifact(out).licence == licence and len(caught) == (not licence)
        other = f"its MD5 begins with {md5[:8]}, that of the release with 00000000: it is another file, or"
        assert all(other in str(one.message) for one in caught)


def test_the_list_says_what_others_published(capsys: pytest.CaptureFixture[str]) -> None:
    assert len({entry.name for entry in LISTED}) == len({entry.file for entry in LISTED}) == len(LISTED)
    for entry in LISTED:
        assert entry.address.startswith("https://") and entry.system in published.IMPORTERS
        assert entry.megabytes > entry.weights * (1 if entry.system == "YAMNet int8" else 4) / 1e6 * 0.999
        if "mAP" in entry.file:  # the released names have it
            assert f"{entry.mean_ap:.3f}"[2:] in entry.file
    assert tuple(PUBLISHED) == completion.PUBLISHED
    status, printed, _ = run(capsys, "models", "--published")
    assert status == 0
    (row,) = [line for line in printed.splitlines() if line.startswith("panns-cnn14 ")]
    assert row.split()[1:7] == ["PANNs", "80,753,615", "32000", "10", "s", "0.431"] and "zenodo.org" in row
    found = json.loads(run(capsys, "models", "--published", "--format", "json")[1])
    assert found == describe_published() and found[-1]["mean_ap"] is None


@pytest.mark.slow
def test_the_list_counts_the_weights_of_our_networks() -> None:
    torch = pytest.importorskip("torch")
    from auricle.models import build

    networks = {
        "panns-cnn14": "cnn14", "panns-cnn10": "cnn10", "panns-mobilenetv1": "mobilenet_v1",
        "efficientat-mn10": "mn", "yamnet-int8": "yamnet",
    }  # fmt: skip
    for name, network in networks.items():
        with torch.device("meta"):
            net = build(network, num_classes=PUBLISHED[name].classes)
        assert sum(one.numel() for one in net.parameters()) == PUBLISHED[name].weights, name
