"""A family of models for a hierarchy of labels: who learns what of which clips, and what all then say."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_urban
import torch
from tiny_urban import TRAIN, TREE
from tones import TinyPlain, same_weights

import auricle.training.loop as loop
from auricle.artifact import load_artifact
from auricle.cli import main
from auricle.evaluation.urban import evaluate_urban
from auricle.models import MODELS
from auricle.recipes import RECIPES
from auricle.runners import check, load_runner
from auricle.shards import Pack, add_labels
from auricle.shards.labels import add_label_view
from auricle.training import TrainConfig, train_family
from auricle.training.data import choose_clips
from auricle.training.family import Member, config_of, plan_members, taxonomy_of
from auricle.training.loop import learning_rate

URBAN = ("micro_auprc_fine", "micro_auprc_coarse")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return tiny_urban.make_corpus(tmp_path_factory.mktemp("urban"))


@pytest.fixture(autouse=True)
def _tiny_net(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "tiny_plain", TinyPlain)


def config_for(corpus: Path, **changes: Any) -> TrainConfig:
    return tiny_urban.config_for(corpus, **{"steps": 4, "monitors": URBAN} | changes)


def members_of(corpus: Path, label_set: str = "agreement50", **options: Any) -> list[Member]:
    pack = Pack(corpus)
    options = {"top": "coarse", "other": False} | options
    return plan_members(pack, taxonomy_of(pack, label_set), label_set, np.arange(TRAIN), **options)


@pytest.fixture(scope="module")
def trained(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A family with the coarse model on top."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, "tiny_plain", TinyPlain)
        out = tmp_path_factory.mktemp("runs") / "family"
        assert train_family(config_for(corpus, steps=12), out, quiet=True) == out / "best"
    return out


def having(corpus: Path, coarse: str) -> list[int]:
    column = TREE.labels.index(coarse)
    return np.flatnonzero(
        Pack(corpus).targets(np.arange(tiny_urban.CLIPS), "agreement50")[:, column]
    ).tolist()


def test_each_coarse_class_of_several_has_a_model_that_learns_from_its_own_clips(corpus: Path) -> None:
    """As published; 3_dog has a single fine label, and so no model."""
    members = members_of(corpus)
    assert [(member.name, member.gate) for member in members] == [
        ("coarse", ""),
        ("1_engine", "1_engine"),
        ("2_alert", "2_alert"),
    ]
    pack = Pack(corpus)
    assert pack.label_names(members[0].label_set) == list(TREE.coarse) and not members[0].subset
    for member, fine in zip(members[1:], TREE.fine, strict=False):
        assert pack.label_names(member.label_set) == list(fine), "X among them"
        clips, held = choose_clips(pack, config_of(config_for(corpus), member))
        every = having(corpus, member.gate)
        assert clips.tolist() == [clip for clip in every if clip < TRAIN] and 0 < len(clips) < TRAIN
        assert held.tolist() == [clip for clip in every if clip >= TRAIN] and 0 < len(held) < 10
    top, _ = choose_clips(pack, config_of(config_for(corpus), members[0]))
    assert top.tolist() == list(range(TRAIN))


def test_with_other_all_clips_are_learned_from_and_those_without_the_class_have_it(corpus: Path) -> None:
    for member, fine in zip(members_of(corpus, other=True)[1:], TREE.fine, strict=False):
        pack = Pack(corpus)
        assert pack.label_names(member.label_set) == [*fine, "other"] and not member.subset
        clips, _ = choose_clips(pack, config_of(config_for(corpus), member))
        assert clips.tolist() == list(range(TRAIN))
        targets = pack.targets(np.arange(tiny_urban.CLIPS), member.label_set)
        expected = np.ones(tiny_urban.CLIPS)
        expected[having(corpus, member.gate)] = 0
        assert targets[:, -1].tolist() == expected.tolist()
        columns = [TREE.labels.index(label) for label in fine]
        whole = pack.targets(np.arange(tiny_urban.CLIPS), "agreement50")
        np.testing.assert_array_equal(targets[:, :-1], whole[:, columns])
        hidden = pack.unknown(np.arange(tiny_urban.CLIPS), member.label_set)
        np.testing.assert_array_equal(
            hidden[:, :-1], pack.unknown(np.arange(tiny_urban.CLIPS), "agreement50")[:, columns]
        )


def test_of_soft_targets_other_is_what_is_left_of_the_class(corpus: Path) -> None:
    member = members_of(corpus, "soft", other=True)[1]
    pack, clips = Pack(corpus), np.arange(tiny_urban.CLIPS)
    whole = pack.targets(clips, "soft", soft=True)
    found = pack.targets(clips, member.label_set, soft=True)
    np.testing.assert_allclose(found[:, -1], 1 - whole[:, TREE.labels.index("1_engine")])
    np.testing.assert_array_equal(found[:, :-1], whole[:, :3])
    assert len(set(found[:, -1].tolist())) > 2


def test_of_votes_a_model_learns_from_the_clips_of_which_more_than_half_heard_its_class(
    corpus: Path, tmp_path: Path
) -> None:
    """And not from those of one vote in three; with `other`, that is true where at most half heard it."""
    path = Path(shutil.copytree(corpus, tmp_path / "pack"))
    heard = tiny_urban.add_votes(path, "votes")
    config = config_for(path, label_set="votes")
    for member in members_of(path, "votes")[1:]:
        cast = heard[:TRAIN, TREE.labels.index(member.gate)]
        clips, _ = choose_clips(Pack(path), config_of(config, member))
        assert clips.tolist() == np.flatnonzero(cast >= 2).tolist()
        assert 0 < len(clips) < (cast > 0).sum()
    for member in members_of(path, "votes", other=True)[1:]:
        cast = heard[:, TREE.labels.index(member.gate)]
        true = Pack(path).targets(np.arange(tiny_urban.CLIPS), member.label_set)
        assert true[:, -1].tolist() == (cast < 2).tolist()


def test_where_the_class_is_unknown_so_is_other(corpus: Path) -> None:
    """Of clips that nobody verified."""
    member = members_of(corpus, "verified", other=True)[1]
    hidden = Pack(corpus).unknown(np.arange(tiny_urban.CLIPS), member.label_set)
    assert hidden[:TRAIN].all() and not hidden[TRAIN:, -1].any()


def test_a_family_that_is_refused_leaves_the_pack_as_it_was(corpus: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(corpus, tmp_path / "pack"))
    add_label_view(path, "top", TREE.coarse, of="agreement50", replace=True)
    before = (path / "manifest.json").read_bytes()
    with pytest.raises(ValueError, match="no coarse class of label set 'top' has several fine labels"):
        members_of(path, "top")
    pack = Pack(path)
    lacking = np.setdiff1d(np.arange(TRAIN), having(path, "2_alert"))  # the class before it has its clips
    assert np.isin(lacking, having(path, "1_engine")).any()
    with pytest.raises(ValueError, match="no clip to train on has '2_alert'"):
        plan_members(pack, taxonomy_of(pack, "soft"), "soft", lacking, top="coarse", other=False)
    assert (path / "manifest.json").read_bytes() == before


def test_with_all_labels_on_top_their_model_learns_the_whole_set(corpus: Path) -> None:
    members = members_of(corpus, top="all")
    assert (members[0].name, members[0].label_set) == ("all", "agreement50") and len(members) == 3


def test_a_model_monitors_what_it_has_of_the_figures(corpus: Path) -> None:
    members = {member.name: member for member in members_of(corpus)}
    kept = {name: config_of(config_for(corpus), member).monitors for name, member in members.items()}
    assert kept == {"coarse": URBAN[1:], "1_engine": URBAN[:1], "2_alert": URBAN[:1]}
    only = config_for(corpus, monitors=URBAN[1:])
    assert config_of(only, members["1_engine"]).monitors == ("map",)


def test_the_family_says_what_its_members_say(corpus: Path, trained: Path) -> None:
    """The coarse logits, those of the branch's own model where it is asked, and the single child's."""
    family = load_artifact(trained / "best")
    assert family.labels == TREE.labels and family.unasked == "zero"
    runner = load_runner(family, threads=1)
    assert check(runner)["ok"]
    pack = Pack(corpus)
    waves = pack.patches(np.arange(30), np.zeros(30, np.int64), tiny_urban.CLIP).astype(np.float32) / 32768
    logits = runner.run(waves)[0]
    own = {
        name: load_runner(load_artifact(trained / "members" / name / "best"), threads=1).run(waves)[0]
        for name in ("coarse", "1_engine", "2_alert")
    }
    np.testing.assert_allclose(logits[:, 7:], own["coarse"], rtol=1e-5, atol=1e-6)
    asked = 0
    for row in range(30):
        top = own["coarse"][row]
        entered = {int(top.argmax())} | set(np.flatnonzero(top > 0).tolist())
        for branch, (name, start, end) in enumerate((("1_engine", 0, 3), ("2_alert", 3, 6))):
            expected = own[name][row] if branch in entered else np.full(3, np.log(1e-6))
            np.testing.assert_allclose(logits[row, start:end], expected, rtol=1e-4, atol=1e-4)
            asked += branch in entered
        assert logits[row, 6] == pytest.approx(top[2], abs=1e-4), "a single child inherits"
    assert 0 < asked < 60


def test_it_is_judged_by_the_challenges_protocol(corpus: Path, trained: Path, tmp_path: Path) -> None:
    code = cli(
        "evaluate",
        trained / "best",
        corpus,
        "--protocol",
        "urban",
        "--split",
        "validate",
        "--out",
        tmp_path / "eval",
    )
    assert code == 0
    found = json.loads((tmp_path / "eval" / "metrics.json").read_text())
    assert found["clips"] == 10 and found["clips_in_training"] == 0
    coarse = load_artifact(trained / "members" / "coarse" / "best").metrics["validation"]
    assert found["coarse"]["micro_auprc"] == pytest.approx(coarse["micro_auprc_coarse"], abs=1e-6)
    assert 0 < found["fine"]["micro_auprc"] < 1 and not found["coarse_inferred"]


def cli(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


@pytest.mark.parametrize(("top", "other"), [("coarse", True), ("all", False), ("all", True)])
def test_every_kind_of_family_is_trained_and_judged(
    corpus: Path, tmp_path: Path, top: str, other: bool
) -> None:
    best = train_family(config_for(corpus, steps=2), tmp_path / "run", top=top, other=other, quiet=True)
    family = load_artifact(best)
    assert family.labels == TREE.labels and family.unasked == ("zero" if top == "coarse" else "top")
    assert check(load_runner(family, threads=1))["ok"]
    judged = evaluate_urban(best, corpus, splits=["validate"], draws=0, quiet=True, threads=1)
    assert 0 < judged["fine"]["micro_auprc"] < 1


def test_a_family_that_was_killed_ends_the_same_and_finished_members_are_left(
    corpus: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed within the second model."""
    config, out = config_for(corpus, steps=12), tmp_path / "family"
    begun = []

    def until(config: TrainConfig, step: int, steps: int) -> float:
        if config.name.endswith("1_engine") and step == 5:
            raise KeyboardInterrupt
        begun.append(config.name)
        return learning_rate(config, step, steps)

    monkeypatch.setattr(loop, "learning_rate", until)
    with pytest.raises(KeyboardInterrupt):
        train_family(config, out, quiet=True)
    with pytest.raises(ValueError, match="holds a run; --resume goes on with it"):
        train_family(config, out, quiet=True)
    monkeypatch.setattr(loop, "learning_rate", learning_rate)
    first = (out / "members" / "coarse" / "last" / "weights.safetensors").stat().st_mtime_ns
    train_family(config, out, resume=True, quiet=True)
    assert (out / "members" / "coarse" / "last" / "weights.safetensors").stat().st_mtime_ns == first
    for name in ("coarse", "1_engine", "2_alert"):
        assert same_weights(trained / "members" / name, out / "members" / name)
    one, two = (load_artifact(each / "best") for each in (trained, out))
    assert one.fingerprint == two.fingerprint
    assert train_family(config, out, resume=True, quiet=True) == out / "best"


def test_checks_of_large_logits_allow_for_their_digits(corpus: Path, tmp_path: Path) -> None:
    """A net's first steps may leave logits of hundreds, of which float32 rounds away more than 1e-4."""
    config = config_for(corpus, steps=2, learning_rate=2.0)
    best = train_family(config, tmp_path / "run", quiet=True)
    family = load_artifact(best)
    largest = max(
        float(np.abs(load_artifact(tmp_path / "run" / "members" / name / "best").read_check()[1]).max())
        for name in ("coarse", "1_engine", "2_alert")
    )
    assert 100 < largest < 1e5 and family.tolerance == pytest.approx(min(1, 1e-5 * largest), rel=0.5)
    assert check(load_runner(family, threads=1))["ok"]


def test_the_command_line_trains_a_family(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(RECIPES, "tiny", lambda data: config_for(data, steps=2))
    command = ["train", "--data", corpus, "--out", tmp_path / "run", "--recipe", "tiny", "--device", "cpu"]
    code = cli(*command, "--family", "coarse", "--other")
    printed = capsys.readouterr()
    assert code == 0 and printed.out.strip() == str(tmp_path / "run" / "best")
    assert "model 3 of 3: 2_alert" in printed.err
    for wrong, message in (
        (["--other"], "--other: is of a family"),
        (["--family", "fine"], "--family: 'fine'; expected coarse or all"),
        (["--family", "all", "--init-from", "x"], "--init-from: a family's models have labels of their own"),
    ):
        assert cli(*command, *wrong) == 2
        assert message in " ".join(capsys.readouterr().err.split())


def test_what_no_family_can_follow_is_refused(corpus: Path, tmp_path: Path) -> None:
    def refused(message: str, **changes: Any) -> None:
        with pytest.raises(ValueError, match=message):
            train_family(config_for(corpus, **changes), tmp_path / "run", quiet=True)
        assert not (tmp_path / "run").exists()

    refused("label set 'labels' has no taxonomy, .*that have one: .*agreement50", label_set="labels")
    add_label_view(corpus, "fine-only", TREE.fine_labels, of="agreement50", replace=True)
    refused(
        "'fine-only' lacks the coarse class '1_engine'; name the set that it is a view of",
        label_set="fine-only",
    )
    single = ["3-1_barking", *TREE.coarse]
    add_label_view(corpus, "single", single, of="agreement50", replace=True)
    refused("no coarse class of label set 'single' has several fine labels", label_set="single")
    refused("a family's models are trained on subsets of their own", train_subset="x")
    with pytest.raises(ValueError, match="top is 'fine'; known: coarse, all"):
        train_family(config_for(corpus), tmp_path / "run", top="fine", quiet=True)


def test_a_class_that_no_clip_has_is_named(corpus: Path, tmp_path: Path) -> None:
    pack = Pack(corpus)
    ids = [str(name) for name in pack.ids]
    given: dict[str, Any] = {"names": TREE.labels, "taxonomy": TREE.as_dict(), "replace": True}
    add_labels(corpus, "dogs", {name: ["3-1_barking", "3_dog"] for name in ids}, **given)
    config = config_for(corpus, label_set="dogs")
    with pytest.raises(ValueError, match="no clip to train on has '1_engine' in label set 'dogs'"):
        train_family(config, tmp_path / "run", quiet=True)
    late = {
        name: ["1-1_small", "1_engine"] if k >= TRAIN else ["2-1_siren", "2_alert"]
        for k, name in enumerate(ids)
    }
    add_labels(corpus, "late", late, **given)
    with pytest.raises(ValueError, match="no clip to train on has '1_engine' in label set 'late'"):
        train_family(dataclasses.replace(config, label_set="late"), tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()
