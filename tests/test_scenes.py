"""Scenes: the plan keeps its recipe, mixing does what the plan says, no recording is in two splits."""

import json
import shutil
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from auricle.datasets import Clip
from auricle.datasets.scene_recipe import SceneRecipe, SceneSplit, Sources, recipe_with
from auricle.datasets.scenes import plan_scenes, zipf_counts
from auricle.engine import make_scenes, pack
from auricle.engine import scenes as mixing
from auricle.engine.packing import Range
from auricle.shards import Pack
from auricle.shards.writer import Decoded

RATE = 8000
LABELS = ("bell", "bird", "car", "dog", "rain", "wind")
RECORDINGS = 4  # of each label and split, two clips each
SPLITS = [
    SceneSplit(name="train", sources=("fold1", "fold2"), scenes=60),
    SceneSplit(name="test", sources=("fold3",), scenes=40),
]
RECIPE = SceneRecipe(seed=3, seconds=4.0, longest=2.0, shortest=0.5, least=2, orders=1.0, events=2.5)


def corpus(label_of_two: bool = False) -> list[Clip]:
    return [
        Clip(
            id=f"{fold}-{label}-{take}",
            path=f"{fold}-{label}-{take}",
            labels=(label, "more") if label_of_two else (label,),
            split=fold,
            group=f"{fold}-{label}-recording{take // 2}",
        )
        for fold in ("fold1", "fold2", "fold3")
        for label in LABELS
        for take in range(2 * RECORDINGS)
    ]


def decode(clip: Range, rate: int) -> Decoded:
    """Silence, a sound, silence; some have a second sound after a long pause, some have only a short one."""
    fold, label, take = Path(clip.path).name.split("-")
    generator = np.random.default_rng([int(fold[-1]), LABELS.index(label), int(take)])
    parts = [np.zeros(int(generator.integers(100, 4000)))]
    for _ in range(1 + int(take) % 3):
        sound = generator.uniform(-1, 1, int(generator.integers(800, 14000)))
        parts += [sound * 10 ** generator.uniform(-2, -0.2), np.zeros(int(generator.integers(5000, 9000)))]
    return Decoded(pcm=(np.concatenate(parts) * 32000).astype(np.int16), clipped=0, warnings=[])


def tone(clip: Range, rate: int) -> Decoded:
    """440 Hz from 0.8 to 1.5 s and from 2.5 to 2.7 s, digital silence elsewhere."""
    time = np.arange(4 * rate) / rate
    sounds = ((time >= 0.8) & (time < 1.5)) | ((time >= 2.5) & (time < 2.7))
    pcm = (9000 * np.sin(2 * np.pi * 440 * time) * sounds).astype(np.int16)
    return Decoded(pcm=pcm, clipped=0, warnings=[])


def make_pack(out: Path, clips: list[Clip]) -> Path:
    placed = [replace(clip, path=str(out.parent / clip.path)) for clip in clips]
    pack(placed, out, rate=RATE, jobs=1, quiet=True, decode=decode)
    return out


@pytest.fixture(scope="module")
def singles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pack(tmp_path_factory.mktemp("singles") / "pack", corpus())


@pytest.fixture(scope="module")
def mixed(singles: Path) -> Path:
    out = singles.parent / "mixed"
    report = make_scenes(singles, out, SPLITS, RECIPE, jobs=1, quiet=True, verify=True)
    assert (report["clips"], report["failures"], report["problems"]) == (100, 0, [])
    return out


@pytest.fixture(scope="module")
def sources(singles: Path) -> Sources:
    return mixing.measure(Pack(singles))


def events(scenes: Path) -> list[dict[str, Any]]:
    return pq.read_table(scenes / "events.parquet").to_pylist()


def by_scene(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found = defaultdict(list)
    for row in rows:
        found[row["id"]].append(row)
    return dict(found)


def content(folder: Path) -> dict[str, bytes]:
    found = {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    assert found.pop("run.json")
    return found


def slow_mix(rows: list[dict[str, Any]], clips: Pack, samples: int) -> np.ndarray:
    """A scene, sample by sample and in double precision, from the rows of its truth alone."""
    ids = clips.ids.tolist()
    out = np.zeros(samples)
    for row in rows:
        start, end = round(row["onset"] * RATE), round(row["offset"] * RATE)
        gain = 10 ** (row["gain_db"] / 20)
        if row["kind"] == "noise":
            # How a noise is drawn has a test of its own.
            bed = mixing.noise(row["noise"], end - start, f"{row['id']} {row['noise']}")
            for position in range(start, end):
                out[position] += gain * bed[position - start]
            continue
        pcm = clips.samples(ids.index(row["source"]))
        first, length = round(row["source_onset"] * RATE), round(row["source_seconds"] * RATE)
        fade, step = (400, length - 400) if row["kind"] == "background" else (80, end - start)
        for begin in range(start, end, step):
            stop = min(begin + length, end)
            edge = min(fade, (stop - begin) // 2)
            for position in range(begin, stop):
                nearest = min(position - begin, stop - 1 - position)
                slope = np.sin((nearest + 0.5) * np.pi / 2 / edge) if nearest < edge else 1.0
                out[position] += gain * slope * pcm[first + position - begin] / 32768
    return out


# --- mixing


def test_a_scene_is_the_sum_of_its_scaled_parts(mixed: Path, singles: Path) -> None:
    scenes, clips = Pack(mixed), Pack(singles)
    rows = by_scene(events(mixed))
    kinds = set()
    for index in range(0, len(scenes), 7):
        own = rows.get(scenes.ids[index], [])
        kinds |= {row["kind"] for row in own}
        exact = slow_mix(own, clips, round(RECIPE.seconds * RATE)) * 32768
        assert np.abs(scenes.samples(index) - exact).max() < 0.6  # rounding, and single precision
    assert kinds == {"foreground", "background", "noise"}


def test_the_bytes_do_not_depend_on_the_number_of_jobs(mixed: Path, singles: Path, tmp_path: Path) -> None:
    make_scenes(singles, tmp_path / "three", SPLITS, RECIPE, jobs=3, quiet=True)
    assert content(tmp_path / "three") == content(mixed)


def test_a_run_that_was_killed_goes_on_and_writes_the_same(
    mixed: Path, singles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "scenes"
    with monkeypatch.context() as patch:
        patch.setattr(
            "auricle.engine.packing.finish_pack", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        with pytest.raises(KeyboardInterrupt):
            make_scenes(singles, out, SPLITS, RECIPE, jobs=1, quiet=True)
    shards = sorted(out.glob("shards/*"))
    assert len(shards) > 1
    shards[-1].unlink()
    kept = shards[0].stat().st_mtime_ns
    with pytest.raises(ValueError, match="its scenes are of another recipe"):
        make_scenes(singles, out, SPLITS, replace(RECIPE, seed=4), jobs=1, quiet=True)
    make_scenes(singles, out, SPLITS, RECIPE, jobs=1, quiet=True)
    assert shards[0].stat().st_mtime_ns == kept
    assert content(out) == content(mixed)
    assert make_scenes(singles, out, SPLITS, RECIPE, quiet=True)["finished_before"]
    with pytest.raises(ValueError, match="its scenes are of another recipe"):
        make_scenes(singles, out, SPLITS, replace(RECIPE, spread=1.0), jobs=1, quiet=True)


def test_damage_to_the_truth_is_found(mixed: Path, tmp_path: Path) -> None:
    shutil.copytree(mixed, tmp_path / "copy")
    table = tmp_path / "copy" / "events.parquet"
    data = bytearray(table.read_bytes())
    data[100] ^= 1
    table.write_bytes(data)
    assert any(line.startswith("events.parquet: damaged") for line in Pack(tmp_path / "copy").verify())


def test_times_of_the_truth_are_those_of_a_known_sound(tmp_path: Path) -> None:
    clip = Clip(id="tone", path=str(tmp_path / "tone"), labels=("tone",), split="a", group="a")
    pack([clip], tmp_path / "one", rate=RATE, jobs=1, quiet=True, decode=tone)
    table = mixing.measure(Pack(tmp_path / "one"))
    recipe = SceneRecipe(
        seconds=6.0, longest=6.0, shortest=5.0, noise_share=0.0, events=1.0, most=1, highest=1.0
    )
    plan = plan_scenes(table, [SceneSplit(name="a", sources=("a",), scenes=5)], recipe)
    first, second = [row for row in plan.events if row["id"] == "a-000000"]
    assert first["source_onset"] == pytest.approx(0.79) and second["source_onset"] == pytest.approx(2.49)
    assert first["offset"] - first["onset"] == pytest.approx(0.72)  # a frame more at either end
    assert second["onset"] - first["onset"] == pytest.approx(1.70)
    scenes = tmp_path / "tones"
    make_scenes(
        tmp_path / "one", scenes, [SceneSplit(name="a", sources=("a",), scenes=5)], recipe, quiet=True, jobs=1
    )
    heard = np.flatnonzero(np.abs(Pack(scenes).samples(0).astype(int)) > 50) / RATE
    assert heard[0] == pytest.approx(first["onset"] + 0.01, abs=0.002)
    assert heard[-1] == pytest.approx(second["offset"] - 0.01, abs=0.002)
    silent = (heard > first["offset"]) & (heard < second["onset"])
    assert not silent.any()
    # The level is that of the sounding part: neither the padding nor the pauses count.
    sounding = Pack(scenes).samples(0)[
        round((first["onset"] + 0.02) * RATE) : round((first["offset"] - 0.02) * RATE)
    ]
    rms = 10 * np.log10(np.mean((sounding / 32768.0) ** 2))
    assert rms == pytest.approx(first["level_db"], abs=0.1)


def test_measured_power_and_peak_are_those_of_the_samples(singles: Path, sources: Sources) -> None:
    clips = Pack(singles)
    for clip in (0, 77):
        pcm = clips.samples(clip) / 32768
        power = sources.power[sources.indptr[clip] : sources.indptr[clip + 1]]
        peak = sources.peak[sources.indptr[clip] : sources.indptr[clip + 1]]
        assert len(power) == len(pcm) // 80
        for frame in range(len(power)):
            part = pcm[80 * frame : 80 * frame + 80]
            assert power[frame] == pytest.approx(sum(x * x for x in part.tolist()) / 80)
            assert peak[frame] == max(abs(x) for x in part.tolist())


@pytest.mark.parametrize("colour, slope", [("white", 0.0), ("pink", -3.0), ("brown", -6.0)])
def test_noise_has_its_level_its_colour_and_no_far_peak(colour: str, slope: float) -> None:
    sound = mixing.noise(colour, 1 << 17, "a")
    assert np.array_equal(sound, mixing.noise(colour, 1 << 17, "a"))
    assert not np.array_equal(sound, mixing.noise(colour, 1 << 17, "b"))
    assert np.sqrt(np.mean(sound**2)) == pytest.approx(1.0, abs=0.02) and np.abs(sound).max() <= 4.0
    power = np.abs(np.fft.rfft(sound)) ** 2
    octaves = [10 * np.log10(power[1 << k : 2 << k].mean()) for k in range(11, 15)]
    assert np.diff(octaves).mean() == pytest.approx(slope, abs=0.3)


def test_no_scene_comes_closer_to_full_scale_than_the_headroom(
    mixed: Path, singles: Path, tmp_path: Path
) -> None:
    loud = replace(RECIPE, quietest=-6.0, loudest=-3.0, headroom=2.0)
    make_scenes(singles, tmp_path / "loud", SPLITS, loud, jobs=1, quiet=True)
    for path, headroom in ((mixed, RECIPE.headroom), (tmp_path / "loud", 2.0)):
        scenes = Pack(path)
        peaks = np.array([np.abs(scenes.samples(i).astype(int)).max() for i in range(len(scenes))])
        assert peaks.max() <= 32768 * 10 ** (-headroom / 20) + 1
        scaled = np.array([float(text) for text in scenes.attributes("scaled_db")])
        assert (scaled <= 0).all()
    assert (scaled < 0).mean() > 0.5  # and it is noted
    assert scenes.manifest["clipped_samples"] == 0


# --- the plan


def test_scenes_of_two_splits_share_no_recording_and_no_clip(mixed: Path) -> None:
    splits = defaultdict(set)
    for row in events(mixed):
        if row["source"] is not None:
            splits[row["source_group"]].add(row["id"].split("-")[0])
            splits[row["source"]].add(row["id"].split("-")[0])
    assert len(splits) > 100
    assert all(len(of) == 1 for of in splits.values())


def test_scenes_of_two_groups_share_no_recording(mixed: Path) -> None:
    scenes = Pack(mixed)
    group_of = dict(zip(scenes.ids, scenes.groups, strict=True))
    groups = defaultdict(set)
    for row in events(mixed):
        if row["source"] is not None:
            groups[row["source_group"]].add(group_of[row["id"]])
    assert all(len(of) == 1 for of in groups.values())
    assert len(set(scenes.groups)) == 8 + RECORDINGS  # as many as a label has recordings


def test_labels_of_a_scene_are_those_of_its_events(mixed: Path) -> None:
    scenes = Pack(mixed)
    rows = by_scene(events(mixed))
    names = np.array(scenes.label_names())
    for index, name in enumerate(scenes.ids):
        labels = {row["label"] for row in rows.get(name, [])} - {None}
        assert set(names[scenes.targets(np.array([index]))[0] > 0]) == labels


def test_frequencies_follow_zipfs_law(sources: Sources) -> None:
    recipe = replace(RECIPE, events=1.5, least=0, orders=1.5, most=5)
    plan = plan_scenes(sources, [SceneSplit(name="train", sources=("fold1",), scenes=4000)], recipe)
    counts = np.array(list(plan.report["train"]["positives"].values()))
    heard = [label for scene in plan.scenes for label in scene.labels]
    assert sorted(counts, reverse=True) == sorted((heard.count(label) for label in LABELS), reverse=True)
    exponent = plan.report["train"]["exponent"]
    below = counts < 0.5 * 4000  # the head is held at `highest`
    expected = counts[-1] * (len(LABELS) / np.arange(1, 7)) ** exponent
    assert below.sum() >= 4
    np.testing.assert_allclose(counts[below], expected[below], rtol=0.02)
    assert np.log10(counts[0] / counts[-1]) == pytest.approx(1.5, abs=0.02)
    assert counts.sum() / 4000 == pytest.approx(1.5, abs=0.01)


def test_zipf_counts_without_a_cap_are_the_law_itself() -> None:
    counts, exponent = zipf_counts(50, 10**6, SceneRecipe(events=1.0, least=0), orders=2.5)
    assert exponent == pytest.approx(2.5 / np.log10(50))
    slopes = np.diff(np.log(counts)) / np.diff(np.log(np.arange(1, 51)))
    np.testing.assert_allclose(slopes, -exponent, rtol=0.02)


def test_a_balanced_split_has_all_labels_equally_often_and_the_others_do_not_change(sources: Sources) -> None:
    zipf = plan_scenes(sources, SPLITS, RECIPE)
    both = plan_scenes(sources, [SPLITS[0], replace(SPLITS[1], orders=0.0)], RECIPE)
    assert len(set(both.report["test"]["positives"].values())) == 1
    alone = plan_scenes(sources, SPLITS[1:], RECIPE)
    assert alone.events == [row for row in zipf.events if row["id"].startswith("test")]
    assert [row for row in zipf.events if row["id"].startswith("train")] == [
        row for row in both.events if row["id"].startswith("train")
    ]


def test_every_label_has_its_least_number_of_scenes(sources: Sources) -> None:
    recipe = replace(RECIPE, orders=3.0, least=4)
    for facts in plan_scenes(sources, SPLITS, recipe).report.values():
        assert min(facts["positives"].values()) >= 4


@pytest.mark.parametrize("cap", [1, 2, 3])
def test_polyphony_never_exceeds_its_cap_and_reaches_it(sources: Sources, cap: int) -> None:
    recipe = replace(RECIPE, polyphony=cap, events=5.0, most=6, highest=0.9)
    plan = plan_scenes(sources, SPLITS, recipe)
    most = 0
    for rows in by_scene(plan.events).values():
        sounding = np.zeros(400, dtype=int)
        for row in rows:
            if row["kind"] == "foreground":
                assert 0 <= row["onset"] < row["offset"] <= RECIPE.seconds + 1e-9
                sounding[round(100 * row["onset"]) : round(100 * row["offset"])] += 1
        most = max(most, int(sounding.max()))
    assert most == cap


def test_levels_and_backgrounds_are_as_the_recipe_says(sources: Sources) -> None:
    recipe = replace(RECIPE, ambience_share=1.0, quietest=-40.0, loudest=-40.0, spread=3.0)
    plan = plan_scenes(sources, [replace(SPLITS[0], scenes=400)], recipe)
    front = [row["level_db"] for row in plan.events if row["kind"] == "foreground"]
    back = [row for row in plan.events if row["kind"] != "foreground"]
    assert -46.001 <= min(front) and max(front) <= -33.999
    assert -65.001 <= min(row["level_db"] for row in back) <= max(row["level_db"] for row in back) <= -49.999
    assert {row["label"] for row in back} <= {"rain", "wind", None}
    assert {row["noise"] for row in back} == {None, "white", "pink", "brown"}
    beds = defaultdict(int)
    for row in back:
        beds[row["id"]] += 1
    assert set(beds.values()) == {1}


def test_the_manifest_says_what_the_scenes_were_mixed_from(mixed: Path, singles: Path) -> None:
    scenes = Pack(mixed)
    told = scenes.manifest["mixed_from"]
    assert told["fingerprint"] == Pack(singles).fingerprint
    assert told["recipe"] == json.loads(json.dumps(RECIPE.as_dict()))
    assert told["heading"].startswith("Scenes mixed from recordings")
    assert told["splits"]["test"]["from"] == ["fold3"]
    assert told["splits"]["test"]["positives"].keys() == set(LABELS)
    assert scenes.rate == RATE and set(scenes.splits) == {"train", "test"}


# --- what people get wrong


def test_clips_of_several_labels_are_refused(sources: Sources) -> None:
    with pytest.raises(ValueError, match="144 of 144 clips have more, e.g. fold1-bell-0: bell, more"):
        plan_scenes(replace(sources, clips=corpus(label_of_two=True)), SPLITS, RECIPE)


def test_splits_that_leak_are_refused(sources: Sources) -> None:
    twice = [SPLITS[0], replace(SPLITS[1], sources=("fold2", "fold3"))]
    with pytest.raises(ValueError, match="'fold2' of the source is wanted for 'train' and for 'test'"):
        plan_scenes(sources, twice, RECIPE)
    clips = [replace(clip, group="one") if clip.id.endswith("dog-1") else clip for clip in sources.clips]
    with pytest.raises(ValueError, match="group 'one' is in 'test' and 'train'"):
        plan_scenes(replace(sources, clips=clips), SPLITS, RECIPE)


def test_unknown_splits_silence_and_too_little_are_told(
    sources: Sources, tmp_path: Path, singles: Path
) -> None:
    with pytest.raises(
        ValueError, match="no split 'fold9' in the source; there are: 'fold1', 'fold2', 'fold3'"
    ):
        plan_scenes(sources, [replace(SPLITS[0], sources=("fold9",))], RECIPE)
    with pytest.raises(ValueError, match="expected 1 scene or more, got 0"):
        plan_scenes(sources, [replace(SPLITS[0], scenes=0)], RECIPE)
    silent = replace(sources, power=np.zeros_like(sources.power))
    with pytest.raises(ValueError, match="'train': no clip of fold1, fold2 has a label and is audible"):
        plan_scenes(silent, SPLITS, RECIPE)
    with pytest.raises(ValueError, match="is the source itself"):
        make_scenes(singles, singles, SPLITS, RECIPE, quiet=True)
    with pytest.raises(ValueError, match="lies in the source itself"):
        make_scenes(singles, singles / "scenes", SPLITS, RECIPE, quiet=True)
    for shard in shutil.copytree(singles, tmp_path / "damaged").glob("shards/*"):
        shard.write_bytes(b"")
    with pytest.raises(ValueError, match="damaged"):
        make_scenes(tmp_path / "damaged", tmp_path / "out", SPLITS, RECIPE, quiet=True)


def test_a_disk_that_is_too_small_is_told_before_anything_is_written(
    singles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        mixing.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 10**6)
    )
    with pytest.raises(ValueError, match="the scenes need 0.0 GB, 0.0 GB are free"):
        make_scenes(singles, tmp_path / "out", SPLITS, RECIPE, quiet=True)
    assert not (tmp_path / "out").exists()


def test_labels_with_few_recordings_are_told_of(sources: Sources) -> None:
    clips = [
        replace(clip, group="only one") if clip.split == "fold3" and clip.labels == ("dog",) else clip
        for clip in sources.clips
    ]
    facts = plan_scenes(replace(sources, clips=clips), [replace(SPLITS[1], orders=0.0)], RECIPE).report[
        "test"
    ]
    assert facts["positives"]["dog"] < facts["wanted"]["dog"]
    assert facts["positives"]["car"] == facts["wanted"]["car"]


@pytest.mark.parametrize(
    "field, text",
    [("polyphony", "0"), ("polyphony", "many"), ("highest", "1.5"), ("gap", "nan"), ("nonesuch", "1")],
)
def test_settings_that_make_no_sense_are_named(field: str, text: str) -> None:
    with pytest.raises(ValueError, match=field):
        recipe_with(SceneRecipe(), {field: text})


def test_real_recordings_give_scenes(shared_data: Path, tmp_path: Path) -> None:
    """The first clips of each fold of ESC-50, one in sixteen."""
    from auricle.datasets import esc50

    clips = esc50(shared_data / "esc50" / "meta.csv")[::16]
    pack(clips, tmp_path / "pack", rate=16000, jobs=1, quiet=True)
    splits = [
        SceneSplit(name="train", sources=("fold1", "fold2"), scenes=20),
        SceneSplit(name="test", sources=("fold5",), scenes=10),
    ]
    make_scenes(tmp_path / "pack", tmp_path / "scenes", splits, SceneRecipe(least=1), jobs=1, quiet=True)
    scenes = Pack(tmp_path / "scenes")
    assert len(scenes) == 30 and scenes.verify() == []
    assert (scenes.lengths == 160000).all()
    index = int(scenes.select(["test"])[0])
    own = by_scene(events(tmp_path / "scenes"))[scenes.ids[index]]
    assert {row["label"] for row in own} - {None}
