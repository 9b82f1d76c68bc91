"""Every line of the table that says whose option is which, on the page on urban sounds, makes a training."""

import dataclasses
import re
from pathlib import Path

import pytest
import tiny_model
import tiny_urban
import torch
from tiny_urban import TREE

from auricle.models import build
from auricle.recipes import configure
from auricle.shards import Pack
from auricle.shards.labels import add_label_view
from auricle.training import TrainConfig
from auricle.training.beside import check_stored, open_beside
from auricle.training.data import choose_clips, make_sampler
from auricle.training.family import config_of, plan_members, taxonomy_of
from auricle.training.outcome import find_embedder
from auricle.training.state import net_arguments
from auricle.training.task import Task, make_task

PAGE = (Path(__file__).parents[1] / "docs" / "urban.md").read_text()
BEFORE, AFTER = PAGE.split("Each line changes the\none command above:\n", 1)
ROWS = [
    tuple(cell.strip() for cell in line.split("|")[1:3])
    for line in AFTER.strip().split("\n\n")[0].splitlines()[2:]
]
AS_IT_COMES = "as it comes"
FIELDS = {item.name for item in dataclasses.fields(TrainConfig)}
SMALL = {  # a second at 16 kHz for ten at 44.1, of about as many frames
    "features.rate": "16000",
    "features.high": "8000",
    "features.hop": "20",
    "window": str(tiny_urban.CLIP),
    "hop": str(tiny_urban.CLIP),
    "embedding_windows": "3",
    "device": "cpu",
    "threads": "1",
}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.save(tmp_path_factory.mktemp("embedder") / "model", hop=tiny_model.WINDOW).path


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the views that the page makes, and other agreements."""
    torch.set_num_threads(1)
    path = tiny_urban.make_corpus(tmp_path_factory.mktemp("urban"))
    add_label_view(path, "fine", TREE.fine_labels, of="agreement50")
    add_label_view(path, "coarse", TREE.coarse, of="agreement50")
    for name in ("agreement25", "agreement75"):
        add_label_view(path, name, TREE.labels, of="agreement50")
    return path


def settings_of(cell: str) -> tuple[list[dict[str, str]], list[str]]:
    """What the code in a cell says: settings (several times where it has a value after a value), and words.

    >>> settings_of("`a=0`, `1`, with `b=2` or `--family all`")
    ([{'a': '0', 'b': '2'}, {'a': '1', 'b': '2'}], ['--family all'])
    """
    values: dict[str, list[str]] = {}
    words, last = [], ""
    for code in re.findall(r"`([^`]*)`", cell):
        name, equals, value = code.partition("=")
        if equals:
            values[name], last = [value], name
        elif code in FIELDS or code.startswith(("--", "auricle ")) or code.endswith("/"):
            words.append(code)
        else:
            assert last, f"{code} is neither a setting, nor a value of one before it"
            values[last].append(code)
    count = max(map(len, values.values()), default=1)
    return [{name: some[min(k, len(some) - 1)] for name, some in values.items()} for k in range(count)], words


def command(embedder: Path) -> dict[str, str]:
    """The settings of the command above the table, with another model for YAMNet."""
    line = re.findall(r"^auricle train .*--recipe tompkins .*$", BEFORE, re.MULTILINE)[0]
    found = dict(part.split("=", 1) for part in re.findall(r"--set (\S+)", line))
    assert found == {"embedder": "./yamnet"}
    return {"embedder": str(embedder)}


def as_far_as_its_task(config: TrainConfig) -> Task:
    """All that a training does before its first step, but for a net that takes memory."""
    pack = Pack(config.data)
    clips = choose_clips(pack, config)
    beside = open_beside(config, pack, CPU, find_embedder)
    check_stored(beside, pack, clips[0], config)
    with torch.device("meta"):
        build(
            config.model,
            num_classes=len(pack.label_names(config.label_set)),
            **net_arguments(config, None, beside),
        )
    return make_task(config, pack, clips, make_sampler(pack, clips[0], config).epoch_size, CPU)


def leaves_out_the_embedder(row: int) -> bool:
    """It says so, or that it is like the line above, which does."""
    cell = ROWS[row][1]
    return "without `embedder`" in cell or ("likewise" in cell and leaves_out_the_embedder(row - 1))


def test_the_table_is_there() -> None:
    assert len(ROWS) >= 16 and all(len(row) == 2 and all(row) for row in ROWS)
    assert [settings_of(cell)[0] for name, cell in ROWS if name == "no augmentation"] == [
        [{"pitch_semitones": "0", "gain_decibels": "0", "noise": "[]"}]
    ]


@pytest.mark.parametrize("row", range(len(ROWS)), ids=[name for name, _ in ROWS])
def test_a_line_of_the_table_makes_a_training(corpus: Path, embedder: Path, row: int) -> None:
    cell = ROWS[row][1]
    usual = command(embedder)
    plain = configure("tompkins", data=corpus, settings=usual | SMALL)
    if leaves_out_the_embedder(row):
        usual = {}
    choices, words = settings_of(cell)
    configs = [configure("tompkins", data=corpus, settings=usual | SMALL | choice) for choice in choices]
    for config in configs:
        task = as_far_as_its_task(config)
        assert len(task.train_clips) == tiny_urban.TRAIN and len(task.validation_clips)
    changed = [config != plain for config in configs]
    assert not all(changed) if AS_IT_COMES in cell or not choices[0] else all(changed)
    folders = [word.rstrip("/") for word in words if word.endswith("/")]
    assert set(folders) <= {"best", *(f"best-{name}" for name in plain.monitors[1:])}
    if families := [word.split() for word in words if word.startswith("--")]:
        (option, top, *other) = families[0]
        assert option == "--family" and other in ([], ["--other"])
        as_far_as_its_family(plain, top, other=bool(other))


def as_far_as_its_family(config: TrainConfig, top: str, *, other: bool) -> None:
    pack = Pack(config.data)
    clips, _ = choose_clips(pack, config)
    taxonomy = taxonomy_of(pack, config.label_set)
    members = plan_members(pack, taxonomy, config.label_set, clips, top=top, other=other)
    assert [member.gate for member in members] == ["", "1_engine", "2_alert"]
    for member in members:
        assert len(as_far_as_its_task(config_of(config, member)).validation_clips)
