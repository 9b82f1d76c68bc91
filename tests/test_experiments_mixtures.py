"""Scenes judge only where each of their sounds is a test clip's, and no recording was learned from."""

import dataclasses
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mixing import make_mixtures, mixing_options
from test_experiments import make_corpus

from auricle.experiments import compare
from auricle.experiments.mixtures import open_mixtures
from auricle.shards import Pack
from auricle.shards.labels import add_label_view


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("tones"))


@pytest.fixture(scope="module")
def scenes(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_mixtures(corpus, tmp_path_factory.mktemp("mixed") / "scenes")


def change_events(scenes: Path, change: Callable[[dict[str, list]], None]) -> None:
    table = pq.read_table(scenes / "events.parquet")
    rows = table.to_pydict()
    change(rows)
    pq.write_table(pa.Table.from_pydict(rows, schema=table.schema), scenes / "events.parquet")


def foreign_fingerprint(scenes: Path) -> None:
    manifest = json.loads((scenes / "manifest.json").read_text())
    manifest["mixed_from"]["fingerprint"] = "0" * 32
    (scenes / "manifest.json").write_text(json.dumps(manifest))


def a_training_clip(scenes: Path) -> None:
    change_events(scenes, lambda rows: rows["source"].__setitem__(0, "0.wav"))


def a_validation_clip(scenes: Path) -> None:
    change_events(scenes, lambda rows: rows["source"].__setitem__(0, "16.wav"))


def a_recording_of_training(scenes: Path) -> None:
    change_events(scenes, lambda rows: rows["source_group"].__setitem__(0, "g0"))


def no_clip_of_the_pack(scenes: Path) -> None:
    change_events(scenes, lambda rows: rows["source"].__setitem__(0, "elsewhere.wav"))


def nothing_of_one_scene(scenes: Path) -> None:
    first = Pack(scenes).ids[0]
    change_events(
        scenes, lambda rows: rows.update(id=["other" if name == first else name for name in rows["id"]])
    )


def no_events(scenes: Path) -> None:
    (scenes / "events.parquet").unlink()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (foreign_fingerprint, "was mixed from another pack (manifest, fingerprint 000000000000)"),
        (a_training_clip, "source clips are of train, not of the test splits"),
        (a_validation_clip, "source clips are of validation, not of the test splits"),
        (a_recording_of_training, "recording g0 is also in the splits to train or validate on"),
        (no_clip_of_the_pack, "elsewhere.wav was mixed in, and is no clip of"),
        (nothing_of_one_scene, "events.parquet does not say what is in mixed-0"),
        (no_events, "events.parquet: is missing, and says what was mixed"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_scenes_of_sounds_that_are_not_for_tests_alone_are_refused(
    corpus: Path, scenes: Path, tmp_path: Path, change: Callable[[Path], None], said: str
) -> None:
    copy = tmp_path / "scenes"
    shutil.copytree(scenes, copy)
    options = mixing_options(corpus, tmp_path / "out", mixtures=copy, validation_splits=("validation",))
    assert open_mixtures(options) is not None
    change(copy)
    with pytest.raises(ValueError, match=re.escape(said)):
        compare("mix-training", options, quiet=True)
    assert not (tmp_path / "out").exists()


def test_a_scene_of_nothing_but_silence_needs_no_event(corpus: Path, scenes: Path, tmp_path: Path) -> None:
    copy = tmp_path / "scenes"
    shutil.copytree(scenes, copy)
    nothing_of_one_scene(copy)
    options = mixing_options(corpus, tmp_path / "out", mixtures=copy)
    with pytest.raises(ValueError, match="does not say what is in mixed-0"):
        open_mixtures(options)
    audible = np.load(copy / "index/audible.npy")
    audible[0] = 0
    np.save(copy / "index/audible.npy", audible)
    assert open_mixtures(options) is not None


def test_scenes_mixed_from_training_too_and_packs_that_are_no_scenes_are_refused(
    corpus: Path, tmp_path: Path
) -> None:
    both = make_mixtures(corpus, tmp_path / "both", ("train", "test"))
    options = mixing_options(corpus, tmp_path / "out", mixtures=both)
    with pytest.raises(ValueError, match=r"source clips are of train, not of the test .* of test alone"):
        compare("mix-training", options, quiet=True)
    with pytest.raises(ValueError, match=r"is not a pack of mixed scenes.*auricle scenes"):
        compare("mix-training", dataclasses.replace(options, mixtures=corpus), quiet=True)


def test_a_recording_that_the_pack_itself_has_on_both_sides_is_found(
    corpus: Path, scenes: Path, tmp_path: Path
) -> None:
    """A corpus whose splits share a recording, of which the scenes do not know."""
    leaky = tmp_path / "pack"
    shutil.copytree(corpus, leaky)
    table = pq.read_table(leaky / "clips.parquet")
    source = next(name for name in pq.read_table(scenes / "events.parquet")["source"].to_pylist() if name)
    groups = ["g0" if row["id"] == source else row["group"] for row in table.to_pylist()]
    place = table.column_names.index("group")
    pq.write_table(table.set_column(place, "group", pa.array(groups)), leaky / "clips.parquet")
    with pytest.raises(ValueError, match="recording g0 is also in the splits to train"):
        open_mixtures(mixing_options(leaky, tmp_path / "out", mixtures=scenes))


def test_scenes_without_a_common_label_are_refused(corpus: Path, tmp_path: Path) -> None:
    copy = tmp_path / "pack"
    shutil.copytree(corpus, copy)
    add_label_view(copy, "even", ["class0", "class2"], "labels")
    add_label_view(copy, "odd", ["class1", "class3"], "labels")
    odd = make_mixtures(copy, tmp_path / "odd", label_set="odd")
    with pytest.raises(ValueError, match="shares no label with set 'even'"):
        open_mixtures(mixing_options(copy, tmp_path / "out", mixtures=odd, label_set="even"))
    assert open_mixtures(mixing_options(copy, tmp_path / "out", mixtures=odd)) is not None
