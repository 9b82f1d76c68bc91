"""Sums over corpora: a paper's figures follow from its rate, lines from formulas, sizes from real packs."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import yaml

from auricle.cli import main
from auricle.datasets import Clip
from auricle.engine import pack
from auricle.engine.packing import Range
from auricle.planning import SHIPPED, Question, in_words, make_plan, merge_costs, read_costs, rows
from auricle.planning.costs import UNITS
from auricle.planning.sheet import Sheet, evaluate, names_in
from auricle.planning.sums import FRAME_BYTES, INDEX_BYTES, Plan
from auricle.shards import Pack, add_embeddings
from auricle.shards.writer import Decoded

HOURS, VIDEOS = 5.24e6, 70e6
HOUR, DAY, WEEK = 3600, 86400, 7 * 86400


def hershey(**options: object) -> Plan:
    """The training set of Hershey et al. 2017, by the rate that the paper gives."""
    question = {"hours": HOURS, "clips": VIDEOS, "labels": 3087, "model": "resnet50"} | options
    return make_plan(Question(**question), read_costs("hershey-2017"))  # type: ignore[arg-type]


def test_one_epoch_of_resnet50_takes_23_weeks() -> None:
    """Section 4.3: "it would take 23 weeks for the network to see each pattern once (one epoch)"."""
    plan = hershey()
    assert plan["devices"] == 20 and plan["step_rate"] == pytest.approx(11, rel=1e-12)
    assert round(plan["train_seconds"] / WEEK) == 23
    assert plan["train_seconds"] / WEEK == pytest.approx(HOURS * 3600 / 0.96 / 128 / 11 / WEEK, rel=1e-12)


def test_a_frame_of_every_video_takes_14_hours() -> None:
    """Section 4.3: "we expect to see at least one frame from each video in only 14 hours"."""
    assert round(hershey()["once_seconds"] / HOUR) == 14


def test_as_many_random_frames_as_videos_meet_63_percent_of_them() -> None:
    """Section 4.3: 14 hours are 70 million frames, not one of each video: "fully randomized", 37% are missed.

    So "at least one frame from each video" does not follow: the last video is met after 257 hours.
    """
    plan = hershey()
    assert plan["once_met"] / VIDEOS == pytest.approx(1 - 1 / math.e)
    assert plan["every_seconds"] / HOUR == pytest.approx(257, abs=1)
    draws, met = np.random.default_rng(0).integers(0, 2000, (200, 2000)), []
    for turn in draws:
        met.append(len(np.unique(turn)) / 2000)
    assert np.mean(met) == pytest.approx(plan["once_met"] / VIDEOS, abs=0.002)


def test_five_million_hours_are_twenty_billion_patches() -> None:
    """Section 3.1: frames of 960 ms, "approximately 20 billion examples from the 70M videos"."""
    plan = hershey()
    assert plan["examples"] == pytest.approx(19.65e9) and round(plan["examples"] / 1e10, 1) == 2.0
    assert plan["address_bits"] == 35, "more than 32"


def test_seventy_million_videos_of_4_6_minutes_are_not_5_24_million_hours() -> None:
    """Sections 1 and 2 do not agree: 70M x 4.6 min are 5.37M hours (2: 5.4M), 5.24M (1) are 4.49 min each.

    Both give 20 billion patches; of the two, only 5.24M hours give 23 weeks (5.4M give 24).
    """
    assert hershey()["clip_seconds"] / 60 == pytest.approx(4.49, abs=0.005)
    longer = hershey(hours=VIDEOS * 4.6 / 60)
    assert longer["hours"] == pytest.approx(5.37e6, rel=0.001) and round(longer["hours"] / 1e5) == 54
    assert round(longer["examples"] / 1e10, 1) == 2.0
    assert round(longer["train_seconds"] / WEEK) == 24


@pytest.mark.parametrize(
    ("steps", "published", "section"),
    [(5_000_000, 120, "4.2"), (16_000_000, 380, "4.3"), (17_000_000, 405, "4.1")],
)
def test_published_hours_of_training_do_not_follow_from_11_batches_a_second(
    steps: int, published: float, section: str
) -> None:
    """Sections 4.1 to 4.3: 5M, 16M and 17M batches took 120, 380, 405 hours: 11.6 to 11.7 a second, not 11.

    At 11 a second they are 126, 404 and 429 hours, 5 or 6% more; by 11.66, an epoch would be 22 weeks.
    """
    hours = hershey(steps=steps)["train_seconds"] / HOUR
    assert 1.05 < hours / published < 1.07, section
    assert 11.5 < steps / (published * HOUR) < 11.75
    faster = read_costs("hershey-2017")["train.resnet50"].value * 11.66 / 11 * 20
    assert round(HOURS * 3600 / 0.96 / faster / WEEK) == 22


def test_audio_set_is_a_twentieth_of_a_percent() -> None:
    """Section 4.4: over 1M excerpts of 10 s are "about 3000 hours", 0.05% of the corpus (0.057 of 3,000)."""
    plan = hershey(hours=1e6 * 10 / 3600, clips=1e6)
    assert plan["clip_seconds"] == pytest.approx(10)
    assert 0.0005 < plan["hours"] / HOURS < 0.0006 and 0.0005 < 3000 / HOURS < 0.0006


def test_balanced_evaluation_sets_have_the_published_sizes() -> None:
    """Section 3.2: "roughly 33 examples per class": 1M, 100K and 12K videos; 12K are 30 a class."""
    assert [round(videos / labels) for videos, labels in ((1e6, 30_871), (1e5, 3087), (12e3, 400))] == [
        32,
        32,
        30,
    ]


def test_a_target_in_days_gives_the_devices_of_which_the_paper_tells() -> None:
    """Section 4.3 backwards: an epoch in 23.07 weeks needs the 20 GPUs; in half the time, twice as many."""
    days = hershey()["train_seconds"] / DAY
    assert hershey(days=days)["train_devices_needed"] == 20, "rounding must not cost a GPU"
    assert hershey(days=days / 2)["train_devices_needed"] == 40
    assert hershey(days=days * 0.999)["train_devices_needed"] == 21


@pytest.mark.parametrize("days", [0.01, 1, 30, 365.25])
@pytest.mark.parametrize("scaling", [1.0, 0.83])
def test_the_devices_of_a_target_do_it_in_time_and_one_fewer_does_not(days: float, scaling: float) -> None:
    costs = merge_costs(["two-cores", "hershey-2017"])
    base = Question(hours=1234.5, model="resnet50", days=days, scaling=scaling)
    answer = make_plan(base, costs)
    for count, seconds, option in (
        ("pack_cores_needed", "pack_seconds", "cores"),
        ("train_devices_needed", "train_seconds", "devices"),
        ("score_devices_needed", "score_seconds", "devices"),
    ):
        needed = int(answer[count])
        for number, in_time in ((needed, True), (needed - 1, False)):
            if number:
                options = {"hours": 1234.5, "model": "resnet50", "scaling": scaling, option: number}
                done = make_plan(Question(**options), costs)[seconds] <= days * DAY * (1 + 1e-9)
                assert done == in_time, (count, number)


def test_twenty_devices_take_a_twentieth_and_lost_speed_counts() -> None:
    assert hershey(devices=1)["train_seconds"] == pytest.approx(20 * hershey()["train_seconds"])
    assert hershey(scaling=0.5)["train_seconds"] == pytest.approx(2 * hershey()["train_seconds"])
    assert hershey(epochs=3)["train_seconds"] == pytest.approx(3 * hershey()["train_seconds"])


def test_clips_of_ten_seconds_are_examples_too() -> None:
    """Chen et al. 2019 train on whole clips of 10 s: an hour has 360, and a shorter clip is one, too."""
    costs = read_costs("two-cores")
    plan = make_plan(Question(hours=1000, clip_seconds=10, model="raw_waveform"), costs)
    assert plan["examples"] == plan["clips"] == 360_000
    assert plan["train_seconds"] == pytest.approx(360_000 / costs["train.raw_waveform"].value)
    short = make_plan(Question(hours=1000, clip_seconds=5, model="raw_waveform"), costs)
    assert short["examples"] == 720_000


def test_windows_of_another_length_take_time_as_they_are_long() -> None:
    whole = make_plan(Question(hours=100, model="raw_waveform"), read_costs("two-cores"))
    half = Question(hours=100, model="raw_waveform", window=5, hop=5)
    halves = make_plan(half, read_costs("two-cores"))
    assert halves["examples"] == 2 * whole["examples"]
    assert halves["train_seconds"] == pytest.approx(whole["train_seconds"])
    line = halves.sheet.lines["train_speed"]
    assert line.formula == "train_measured * train_window / window"
    assert halves.sheet.costs_of("train_seconds")[0] == "train_measured"


def every_plan() -> list[Plan]:
    plans = []
    for costs in (["two-cores"], ["hershey-2017"], ["two-cores", "hershey-2017"]):
        for model in ("", "resnet50", "raw_waveform", "auricle-esc50"):
            for options in ({}, {"days": 3.0}, {"window": 3.0, "hop": 1.0}, {"steps": 10}):
                question = Question(hours=10, model=model, **options)  # type: ignore[arg-type]
                plans.append(make_plan(question, merge_costs(costs)))
    return plans


def test_every_line_says_where_it_comes_from_and_its_unit() -> None:
    counts = {
        "clips",
        "labels",
        "labels_per_clip",
        "examples",
        "embedding_size",
        "devices",
        "batch",
        "epochs",
    }
    counts |= {"steps", "train_examples", "once_met"}
    seen = set()
    for plan in every_plan():
        for line in plan.lines:
            seen.add(line.name)
            assert bool(line.formula) != bool(line.source), line
            assert line.unit or line.name in counts, line
            assert math.isfinite(line.value) and line.value >= 0, line
            if line.formula:
                assert set(names_in(line.formula)) <= {other.name for other in plan.lines}
            if line.part in ("packing", "training", "scoring", "tagging") and line.unit == "s":
                assert plan.sheet.costs_of(line.name), f"{line.name} rests on no unit cost"
        for _, table in rows(plan):
            assert all(cell for row in table for cell in row)
    assert {"tag_cores_needed", "tag_devices_needed", "train_measured", "score_speed"} <= seen


def test_a_figure_is_what_its_formula_says() -> None:
    """Evaluated again, by Python itself."""
    for plan in every_plan():
        values = {line.name: line.value for line in plan.lines}
        functions = {"ceil": lambda x: math.ceil(x - 1e-9 * max(1, x)), "log": math.log, "exp": math.exp}
        for line in plan.lines:
            if line.formula:
                assert line.value == pytest.approx(eval(line.formula, functions | values), rel=1e-12), line


def test_what_has_no_unit_cost_is_left_out_and_named() -> None:
    plan = hershey()
    assert "pack_seconds" not in plan and "tag_seconds" not in plan
    assert any(note.startswith("packing is not planned: there is no unit cost pack") for note in plan.notes)
    plan = make_plan(Question(hours=1, model="vgg"), read_costs("two-cores"))
    assert "train_seconds" not in plan and "pack_seconds" in plan
    notes = [note.partition(";")[0] for note in plan.notes]
    assert "training is not planned: there is no unit cost train.vgg" in notes
    assert make_plan(Question(hours=1), {})["sound_bytes"] > 0, "disk needs no unit cost"


def test_a_rate_of_other_labels_and_a_guess_are_said_to_be() -> None:
    notes = hershey(labels=30_871).notes
    assert any("measured with 3,087 labels: the last layer of 30,871 is not in it" in note for note in notes)
    assert any("no unit cost score.resnet50: twice the rate of training" in note for note in notes)
    assert not any("labels" in note for note in hershey().notes)


# Sizes against real packs


def noise(clip: Range, rate: int) -> Decoded:
    count = int(clip.path)
    pcm = np.random.default_rng(count).integers(1, 9000, count).astype(np.int16)
    return Decoded(pcm=pcm, clipped=0, warnings=[])


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("planned") / "pack"
    labels = [f"label{number}" for number in range(20)]
    clips = [
        Clip(id=f"clip{k}", path=str(20_000 + 3 * k), labels=tuple(labels[k % 17 : k % 17 + 3]))
        for k in range(320)
    ]
    pack(clips, out, rate=4000, jobs=1, quiet=True, decode=noise)
    values = [np.zeros((k % 3, 16), np.float16) for k in range(320)]
    about = {"model": "none", "fingerprint": "none", "rate": 4000, "window": 1, "hop": 1}
    add_embeddings(out, "none", values, about)
    return out


def planned(path: Path) -> Plan:
    from auricle.planning.corpus import question_of

    return make_plan(question_of(path, "labels", {}, {"embedding_size": 16}), {})


def test_planned_bytes_are_those_of_a_real_pack(packed: Path) -> None:
    """Shards to 16 bytes a recording and what a file has around it; index and labels to the byte."""
    plan, reader = planned(packed), Pack(packed)

    def size(pattern: str) -> int:
        return sum(file.stat().st_size for file in packed.glob(pattern))

    shards = size("shards/*.arrow")
    assert abs(plan["sound_bytes"] - shards) < 320 * 16 + 1000 * len(list(packed.glob("shards/*")))
    index = sum(size(f"index/{name}.npy") - 128 for name in ("shard", "offset", "samples", "audible"))
    assert index == 320 * INDEX_BYTES
    grid = size("index/patches.*.npy") - 128
    assert plan["index_bytes"] == index + grid
    label_files = list(packed.glob("index/labels.*.npy"))
    exact = size("index/labels.*.npy") - 128 * len(label_files)
    assert plan["label_bytes"] + 3 * 8 == exact, "three lists have one entry more than rows"
    assert plan["labels_per_clip"] == 3 and plan["labels"] == 19 == len(reader.label_names())


def test_a_pack_is_counted_and_not_assumed(packed: Path) -> None:
    plan, reader = planned(packed), Pack(packed)
    assert plan["hours"] == pytest.approx(int(reader.lengths.sum()) / 4000 / 3600, rel=1e-12)
    assert plan["clips"] == 320 and plan["rate"] == 4000
    window, hop = 3900, 3840
    counted = sum((max(n - window, 0)) // hop + 1 for n in reader.lengths.tolist())
    assert plan["examples"] == counted
    assert plan.sheet.lines["examples"].source == f"counted in {packed}"


def test_the_bytes_around_a_recording_are_arrows(packed: Path) -> None:
    reader = Pack(packed)
    around = sum(file.stat().st_size for file in packed.glob("shards/*")) - 2 * int(reader.lengths.sum())
    assert around / 320 == pytest.approx(FRAME_BYTES, rel=0.1)


# Files of unit costs


@pytest.mark.parametrize("name", SHIPPED)
def test_what_is_shipped_says_whose_and_when_it_is(name: str) -> None:
    costs = read_costs(name)
    assert 1 <= len(costs) <= 6, "few"
    for cost in costs.values():
        assert cost.how and ("GPU" in cost.source or "cores" in cost.source) and "20" in cost.source
        assert cost.unit == UNITS[cost.name.partition(".")[0]]


def test_the_default_costs_are_those_of_the_page_on_speed() -> None:
    """A figure that is measured again has to be changed in both."""
    text = (Path(__file__).parents[1] / "docs/speed.md").read_text()
    costs = read_costs("two-cores")
    assert f"| resnet50 | 17.7 | {costs['train.resnet50'].value:g} |" in text
    assert "| 1,888 x |" in text and costs["score.auricle-esc50"].value == 1888 / 2
    assert "| 808 x" in text and costs["tag.auricle-esc50"].value == 808 / 2
    assert "| MP3, 144 x 60 s stereo |" in text and "| 5.02 s |" in text
    assert costs["pack"].value == round(144 * 60 / 5.02 / 2)
    assert "| 4 | 2 | as it is | 1.347 | 2.97 |" in text and costs["train.raw_waveform"].value == 2.97


GOOD = {
    "format": 1,
    "machine": "a machine",
    "date": "2026-01-01",
    "costs": {"pack": {"value": 100, "unit": "s of audio / core s", "how": "a stopwatch"}},
}


def with_cost(name: str, **about: object) -> dict:
    return GOOD | {"costs": {name: {"unit": UNITS.get(name.partition(".")[0], ""), "value": 5} | about}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1, 2", "expected YAML or JSON"),
        (GOOD | {"format": 2}, "format: expected 1, got '2'"),
        ({"format": 1}, "machine: is missing; say where and when"),
        (GOOD | {"date": ""}, "date: is missing"),
        (GOOD | {"costs": {}}, "costs: expected at least one"),
        (with_cost("speed"), "costs: speed: unknown; expected pack, tag.MODEL"),
        (with_cost("train"), "costs: train: unknown; expected"),
        (with_cost("pack.mp3"), "costs: pack.mp3: unknown"),
        (with_cost("pack", unit="hours"), "pack: unit: expected 's of audio / core s', got 'hours'"),
        (with_cost("pack", value="fast"), "pack: value: expected a number, got 'fast'"),
        (with_cost("pack", value=True), "pack: value: expected a number, got True"),
        (with_cost("pack", value=0), "pack: value: expected a number above 0, got 0"),
        (with_cost("pack", value=math.nan), "pack: value: expected a number above 0, got nan"),
        (with_cost("scaling", value=1.2), "scaling: value: expected a number above 0 and at most 1"),
        (with_cost("pack", speed=3), "pack: unknown field 'speed'; known: batch, cores"),
        (with_cost("train.vgg", device="GPU", hop=1), "train.vgg: window: expected seconds above 0"),
        (with_cost("train.vgg", window=1, hop=1), "train.vgg: device: is missing"),
        (GOOD | {"costs": {"pack": 3}}, "costs: pack: expected value, unit and how"),
    ],
)
def test_a_file_of_costs_that_is_wrong_is_refused_by_its_field(
    tmp_path: Path, content: object, message: str
) -> None:
    file = tmp_path / "costs.yaml"
    file.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    with pytest.raises(ValueError) as raised:
        read_costs(file)
    assert str(raised.value).startswith(f"{file}: ") and message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_costs_may_be_json_and_the_later_file_counts(tmp_path: Path) -> None:
    file = tmp_path / "costs.json"
    file.write_text(json.dumps(GOOD))
    costs = merge_costs(["two-cores", file])
    assert costs["pack"].value == 100 and "train.resnet50" in costs
    assert make_plan(Question(hours=100, cores=1), costs)["pack_seconds"] == 3600
    assert merge_costs([file, "two-cores"])["pack"].value != 100


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hours": 0}, r"hours: expected a number from 1e-06 to 1e\+15, got 0"),
        ({"hours": math.inf}, r"hours: expected a number from 1e-06 to 1e\+15, got inf"),
        ({"hours": 1e308}, r"hours: expected a number from 1e-06 to 1e\+15, got 1e\+308"),
        ({"hours": 1, "days": 1e-300}, "days: expected a number from 1e-06"),
        ({"hours": 1, "clips": 0.5}, "clips: expected 1 or more, got 0.5"),
        ({"epochs": 1.0, "steps": 3}, "expected epochs or steps, got both"),
        ({"clips": 3.0, "clip_seconds": 3.0}, "expected clips or clip_seconds, got both"),
        ({"scaling": 1.5}, "scaling: expected a share of at most 1, got 1.5"),
    ],
)
def test_wrong_questions_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Question(**({"hours": 1.0} | options))


# The sheet, words, and the verb


def test_a_sheet_knows_which_costs_a_line_rests_on_by_way_of_others() -> None:
    sheet = Sheet()
    sheet.take("speed", "unit costs", "of something", 4, "1/s", "measured")
    sheet.take("many", "given", "things", 8, "", "given")
    sheet.reckon("faster", "unit costs", "twice", "2 * speed", "1/s")
    sheet.reckon("seconds", "packing", "in all", "many / faster", "s")
    assert sheet["seconds"] == 1 and sheet.costs_of("seconds") == ["speed"] and sheet.costs_of("many") == []


def test_formulas_know_no_more_than_they_need() -> None:
    assert evaluate("max(1, 2) - min(3, 4) / 2", {}) == 0.5
    rounded = [evaluate("ceil(a)", {"a": value}) for value in (20.0, 20.000000000001, 20.001, 0.2)]
    assert rounded == [20, 20, 21, 1], "what floating point adds is no device more"
    for formula in ("__import__('os')", "a.b", "a[0]", "[1]", "a if b else c"):
        with pytest.raises((AssertionError, KeyError, ValueError)):
            evaluate(formula, {"a": 1, "b": 1, "c": 1})


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (999, "bytes", "999 B"),
        (999_960, "bytes", "1.0 MB"),
        (6.1e17, "bytes", "610.0 PB"),
        (43.9e6, "bytes/s", "43.9 MB/s"),
        (59.5, "s", "59.5 s"),
        (3600, "s", "1.0 h = 60.0 min"),
        (0.3492187, "mini-batches / s", "0.3492 mini-batches / s"),
        (19.65e9, "", "19,650,000,000"),
        (1408, "examples / s", "1,408 examples / s"),
    ],
)
def test_numbers_are_written_for_people(value: float, unit: str, words: str) -> None:
    assert in_words(value, unit) == words


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as done:
        main(["plan", *arguments])
    captured = capsys.readouterr()
    return int(done.value.code or 0), captured.out, captured.err


PAPER = ("--hours", "5.24e6", "--clips", "70e6", "--labels", "3087", "--model", "resnet50")


def test_the_verb_prints_the_papers_sums(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, *PAPER, "--costs", "hershey-2017")
    assert status == 0
    assert "23.1 weeks = 161.5 days = 3,876.7 h" in out and "13.8 h" in out and "19,650,000,000" in out
    assert "11 mini-batches a second with 20 GPUs" in out
    assert "packing is not planned" in err


def test_the_verb_answers_programs(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(
        capsys, *PAPER, "--costs", "two-cores", "--costs", "hershey-2017", "--format", "json"
    )
    answer = json.loads(out)
    lines = {line["name"]: line for line in answer["lines"]}
    assert status == 0 and answer["device"] == "GPU of 2016, of 20 together"
    assert lines["train_seconds"]["unit"] == "s" and lines["train_seconds"]["unit_costs"] == ["train_speed"]
    assert lines["train_seconds"]["value"] / WEEK == pytest.approx(23.07, abs=0.01)
    assert lines["pack_seconds"]["formula"] == "pack_core_seconds / cores"


def test_the_verb_plans_for_a_pack_that_is_there(packed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "--data", str(packed), "--days", "1", "--format", "json")
    lines = {line["name"]: line for line in json.loads(out)["lines"]}
    assert status == 0 and lines["clips"]["value"] == 320 and lines["pack_cores_needed"]["value"] == 1


def test_the_verb_measures_first_and_plans_from_what_it_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {}

    def measure(path: Path, **options: object) -> None:
        asked.update(options)
        path.write_text(yaml.safe_dump(GOOD))

    monkeypatch.setattr("auricle.measuring.measure_costs", measure)
    file = str(tmp_path / "here.yaml")
    words = (
        "--hours",
        "100",
        "--cores",
        "1",
        "--model",
        "vgg",
        "--labels",
        "7",
        "--batch",
        "32",
        "--hop",
        "2",
    )
    status, out, _ = run(capsys, *words, "--measure", file, "--format", "json")
    lines = {line["name"]: line for line in json.loads(out)["lines"]}
    assert status == 0 and lines["pack_seconds"]["value"] == 3600 and file in lines["pack_speed"]["source"]
    del asked["say"]
    assert asked == {
        "model": "vgg", "labels": 7, "batch": 32, "window": None, "hop": 2.0, "media": (), "device": "auto",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ((), 2, "give hours of sound, or a pack with --data"),
        (("--hours", "1", "--data", "x"), 2, "give hours of sound, or a pack with --data"),
        (("--data", "x", "--clips", "3"), 2, "are counted in the pack; leave them out"),
        (("--hours", "1", "--media", "x"), 2, "is for --measure FILE"),
        (("--hours", "1", "--costs", "nowhere.yaml"), 1, "nowhere.yaml: no such file; expected one that"),
        (("--hours", "1", "--epochs", "1", "--steps", "1"), 1, "expected epochs or steps, got both"),
        (("--data", "nowhere"), 1, "nowhere: no such folder; expected a pack"),
    ],
)
def test_wrong_usage_is_refused(
    arguments: tuple[str, ...], status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (status, "") and message in err


def test_planning_needs_no_torch() -> None:
    from test_base_install import without_torch

    code = "from auricle.cli import main\nmain(['plan', '--hours', '10', '--model', 'resnet50'])"
    done = without_torch(code)
    assert done.returncode == 0 and "train_seconds" in done.stdout
    words = ["plan", "--hours", "10", "--model", "vgg", "--measure", "x.yaml"]
    done = without_torch(f"from auricle.cli import main\nmain({words})")
    assert done.returncode == 1 and "pip install 'auricle[train]'" in done.stderr
