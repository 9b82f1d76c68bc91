"""Families of models: who is asked, what is said where nobody is, and one artifact of it all."""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import tiny_fusion
from running import run
from tiny_fusion import RATE, WINDOW, noise

from auricle.artifact import Artifact, load_artifact
from auricle.embedding import embed_pack
from auricle.engine.packing import pack as pack_source
from auricle.evaluation import evaluate
from auricle.family import save_family
from auricle.gating import NEVER, follow_gates, plan_gates
from auricle.hierarchy import ancestors
from auricle.interop.onnx import export_onnx
from auricle.runners import check, load_runner
from auricle.tagging import Tagger

# As the paper's: coarse classes, one of them with a single child; and one level more below trucks.
PARENTS = {
    "small engine": ["engine"],
    "truck": ["engine"],
    "boat": ["engine"],
    "barking": ["dog"],
    "drill": ["machine"],
    "saw": ["machine"],
    "reversing": ["truck"],
    "idling": ["truck"],
    "engine": [],
    "dog": [],
    "machine": [],
}
LABELS = list(PARENTS)
COARSE = ["engine", "dog", "machine"]
MEMBERS = {
    "coarse": COARSE,
    "engines": ["boat", "truck", "small engine", "other"],  # in its own order, and with a dummy
    "machines": ["saw", "drill"],
    "trucks": ["idling", "reversing"],
}
GATES = {"engine": "engines", "machine": "machines", "truck": "trucks"}


def lists(parents: Mapping[str, Sequence[str]], labels: Sequence[str]) -> list[list[str]]:
    return [list(parents[label]) for label in labels]


def plan(**changes: Any) -> Any:
    labels = changes.pop("labels", LABELS)
    parents = changes.pop("parents", PARENTS)
    given = {"members": MEMBERS, "gates": GATES} | changes
    return plan_gates(labels, lists(parents, labels), **given)


class Members:
    """Fixed answers to every row, and who was asked for which."""

    def __init__(self, members: Mapping[str, Sequence[str]], count: int, seed: int = 0):
        rng = np.random.default_rng(seed)
        self.says = {name: rng.normal(0, 2, (count, len(own))) for name, own in members.items()}
        self.labels, self.asked = members, {name: [] for name in members}

    def ask(self, name: str, rows: np.ndarray) -> np.ndarray:
        assert len(rows)
        self.asked[name] += rows.tolist()
        return self.says[name][rows]

    def said(self, name: str, row: int, label: str) -> float:
        return float(self.says[name][row, list(self.labels[name]).index(label)])


def slow_tree(members: Members, row: int, parents: Mapping[str, Sequence[str]], gates: Mapping[str, str],
              root: str, unasked: str) -> tuple[dict[str, float], set[str]]:  # fmt: skip
    """One recording, from the top down, by recursion; of a tree."""
    found = {label: NEVER for label in parents}
    if unasked == "top":
        found |= {k: members.said(root, row, k) for k in parents if k in members.labels[root]}
    asked = {root}

    def enter(above: str | None, giver: str) -> None:
        if above in gates:
            giver = gates[above]
            asked.add(giver)
        below = [label for label, up in parents.items() if (up[0] if up else None) == above]
        for label in below:
            if label in members.labels[giver]:
                found[label] = members.said(giver, row, label)
        if not below:
            return
        best = max(below, key=lambda label: found[label])
        for label in below:
            if label == best or 1 / (1 + np.exp(-found[label])) > 0.5:
                enter(label, giver)

    def inherit(above: str) -> None:
        below = [label for label, up in parents.items() if list(up) == [above]]
        if len(below) == 1 and above not in gates and below[0] not in members.labels[root]:
            found[below[0]] = found[above]
        for label in below:
            inherit(label)

    enter(None, root)
    for label, up in parents.items():
        if not up:
            inherit(label)
    return found, asked


@pytest.mark.parametrize("unasked", ["zero", "top"])
def test_each_row_equals_a_slow_search_of_the_tree(unasked: str) -> None:
    members = dict(MEMBERS)
    if unasked == "top":  # the 37-way model on top
        members["coarse"] = [label for label in reversed(LABELS) if label != "barking"]
    gating = plan(members=members, unasked=unasked)
    answers = Members(members, 400)
    found = follow_gates(gating, 400, answers.ask)
    assert found.shape == (400, len(LABELS)) and found.dtype == np.float32
    asked = {name: set() for name in members}
    for row in range(400):
        expected, whom = slow_tree(answers, row, PARENTS, GATES, "coarse", unasked)
        np.testing.assert_allclose(found[row], [expected[label] for label in LABELS], rtol=1e-6)
        for name in whom:
            asked[name].add(row)
    for name, rows in answers.asked.items():
        assert sorted(rows) == sorted(asked[name]), "asked once each, and nobody else"
    assert 0 < len(asked["trucks"]) < len(asked["engines"]) < 400


def test_the_top_class_is_asked_though_unlikely_and_others_only_over_one_half() -> None:
    gating = plan()
    answers = Members(MEMBERS, 4)
    answers.says["coarse"][:] = [[-3, -5, -4], [-3, -5, 0], [-1, -5, 1e-9], [-3, 2, -1]]
    found = follow_gates(gating, 4, answers.ask)
    # Exactly 0.5 is not over it; where the top class has no model, nobody need be asked.
    assert answers.asked["engines"] == [0] and answers.asked["machines"] == [1, 2]
    columns = [LABELS.index(label) for label in ("small engine", "truck", "boat", "drill", "saw")]
    assert (found[3, columns] == np.float32(NEVER)).all()
    np.testing.assert_allclose(found[:, LABELS.index("barking")], answers.says["coarse"][:, 1], rtol=1e-6)
    assert abs(1 / (1 + np.exp(-NEVER)) - 1e-6) < 1e-12


def test_rows_do_not_depend_on_each_other() -> None:
    answers = Members(MEMBERS, 50)
    whole = follow_gates(plan(), 50, answers.ask)
    for row in range(50):
        one = follow_gates(plan(), 1, lambda name, rows, row=row: answers.says[name][[row]])
        np.testing.assert_array_equal(one[0], whole[row])
    assert follow_gates(plan(), 0, answers.ask).shape == (0, len(LABELS))


def test_a_member_may_give_several_levels_and_the_nearest_gate_counts() -> None:
    members = {"coarse": COARSE, "engines": [*PARENTS], "machines": ["drill", "saw"]}
    gates = {"engine": "engines", "machine": "machines"}
    answers = Members(members, 30)
    found = follow_gates(plan(members=members, gates=gates), 30, answers.ask)
    asked = sorted(answers.asked["engines"])
    for label in ("truck", "idling"):
        said = answers.says["engines"][:, LABELS.index(label)]
        np.testing.assert_allclose(found[asked, LABELS.index(label)], said[asked], rtol=1e-6)
    others = np.setdiff1d(np.arange(30), asked)
    assert len(others) and (found[others, LABELS.index("idling")] == np.float32(NEVER)).all()
    # What it says of labels above its gate, or beside it, is not used.
    np.testing.assert_allclose(found[:, LABELS.index("engine")], answers.says["coarse"][:, 0], rtol=1e-6)
    drill = LABELS.index("drill")
    rows = answers.asked["machines"]
    np.testing.assert_allclose(found[rows, drill], answers.says["machines"][rows, 0], rtol=1e-6)


def test_a_label_below_two_parents_has_the_greater_of_what_is_said() -> None:
    parents = {
        "hum": ["engine", "machine"],
        "boat": ["engine"],
        "saw": ["machine"],
        "engine": [],
        "machine": [],
    }
    labels = list(parents)
    members = {"coarse": ["engine", "machine"], "a": ["hum", "boat"], "b": ["saw", "hum"]}
    gating = plan(labels=labels, parents=parents, members=members, gates={"engine": "a", "machine": "b"})
    answers = Members(members, 3)
    answers.says["coarse"][:] = [[1, -1], [-1, 1], [1, 1]]
    answers.says["a"][:, 0], answers.says["b"][:, 1] = 3, (4, 5, 1)
    found = follow_gates(gating, 3, answers.ask)
    assert found[:, 0].tolist() == [3, 5, 3]
    assert answers.asked["a"] == [0, 2] and answers.asked["b"] == [1, 2]


def test_a_single_child_of_a_single_child_inherits_too() -> None:
    parents = {"c": ["b"], "b": ["a"], "a": [], "z": []}
    gating = plan(
        labels=list(parents), parents=parents, members={"m": ["a", "z"], "n": ["z"]}, gates={"c": "n"}
    )
    answers = Members({"m": ["a", "z"], "n": ["z"]}, 5)
    found = follow_gates(gating, 5, answers.ask)
    for column in (0, 1, 2):
        np.testing.assert_allclose(found[:, column], answers.says["m"][:, 0], rtol=1e-6)
    a, z = answers.says["m"].T
    assert answers.asked["n"] == np.flatnonzero((a >= z) | (a > 0)).tolist()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gates": GATES | {"dog": "dogs"}}, "'gates': 'dog' asks member 'dogs', which is not there; there"),
        ({"gates": GATES | {"cat": "trucks"}}, "'gates': 'cat' is no label of the family"),
        ({"gates": {k: v for k, v in GATES.items() if k != "truck"}},
         "'gates': none of the members 'coarse', 'trucks' is named by a gate; expected one"),
        ({"gates": GATES | {"dog": "coarse"}}, "'gates': a circle: every member stands behind a gate"),
        ({"members": MEMBERS | {"engines": ["boat", "truck"]}},
         "label 'small engine': given by nobody: gate 'engine' asks member 'engines' for it, which has not "
         "got it but boat, truck"),
        ({"members": MEMBERS | {"coarse": ["dog", "machine"]}},
         "label 'engine': given by nobody: it is for 'coarse', on top, which has not got it but dog, ma"),
        ({"unasked": "top"}, "'unasked': \"top\", but the member on top, 'coarse', does not have"),
        ({"unasked": "half"}, "'unasked': expected one of zero, top, got 'half'"),
        ({"parents": PARENTS | {"engine": ["truck"]}}, "label 'engine' is its own ancestor: engine < truck"),
        ({"parents": PARENTS | {"saw": ["dog"], "drill": ["dog"]}},
         "label 'barking': given by nobody: it is for 'coarse', on top, which has not got it but engine, "
         "dog, machine, nor is it the only label below 'dog'"),
    ],
)  # fmt: skip
def test_what_cannot_answer_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        plan(**changes)
    assert message in str(caught.value), str(caught.value)


@pytest.fixture(scope="module", autouse=True)
def tiny_nets() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        tiny_fusion.register(patch)
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The member on top and two others take the same embeddings, one hears log-mels only."""
    folder = tmp_path_factory.mktemp("made")
    embedder = tiny_fusion.save_embedder(folder / "embedder")
    for seed, (name, own) in enumerate(MEMBERS.items()):
        tiny_fusion.save(folder / name, own, seed=seed, embedder=None if name == "machines" else embedder)
    save(folder / "family", {name: folder / name for name in MEMBERS})
    return folder


@pytest.fixture
def sources(made: Path, tmp_path: Path) -> dict[str, Path]:
    for name in ("embedder", *MEMBERS):
        shutil.copytree(made / name, tmp_path / name)
    return {name: tmp_path / name for name in MEMBERS}


@pytest.fixture
def family(made: Path, tmp_path: Path) -> Artifact:
    shutil.copytree(made / "family", tmp_path / "family")
    return load_artifact(tmp_path / "family")


def save(path: Path, sources: Mapping[str, Path], **fields: Any) -> Artifact:
    given: dict[str, Any] = {"members": sources, "gates": GATES, "labels": LABELS, "parents": PARENTS}
    return save_family(path, **(given | fields))


def test_the_artifact_answers_as_its_members_do(sources: dict[str, Path], tmp_path: Path) -> None:
    family = save(tmp_path / "family", sources)
    loaded = load_artifact(family.path)
    assert loaded == family and loaded.labels == tuple(LABELS)
    assert (loaded.rate, loaded.window, loaded.embedding_size) == (RATE, WINDOW, 5)
    alone = {name: load_runner(load_artifact(path), threads=1) for name, path in sources.items()}
    x = noise(24)
    for batch in (1, 16):
        runner = load_runner(loaded, threads=1, batch=batch)
        logits, embeddings = runner.run(x)
        answers = {name: member.run(x) for name, member in alone.items()}
        expected = follow_gates(plan(), 24, lambda name, rows, said=answers: said[name][0][rows])
        np.testing.assert_allclose(logits, expected, atol=1e-4)
        np.testing.assert_allclose(embeddings, answers["coarse"][1], atol=1e-6)
        assert (logits == np.float32(NEVER)).any() and (logits[:, 0] > NEVER).any()
    assert runner.run(x[:0])[0].shape == (0, len(LABELS))
    assert check(runner)["ok"]


def test_members_run_on_those_rows_only_and_share_embeddings(
    family: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = load_runner(family, threads=1, batch=8)
    members = runner.members
    embedder = members["coarse"].embedder
    assert embedder is members["trucks"].embedder, "one embedder is loaded once"
    heard: dict[str, int] = dict.fromkeys([*members, "embedder"], 0)

    def counting(name: str, run: Any) -> Any:
        def counted(*arguments: Any) -> Any:
            heard[name] += len(arguments[0])
            return run(*arguments)

        return counted

    for name, member in members.items():
        method = "run" if name == "machines" else "run_embedded"
        monkeypatch.setattr(member, method, counting(name, getattr(member, method)))
    monkeypatch.setattr(embedder, "run", counting("embedder", embedder.run))
    logits, _ = runner.run(noise(24))
    columns = {"engines": "boat", "machines": "saw", "trucks": "idling"}
    rows = {name: logits[:, LABELS.index(label)] != np.float32(NEVER) for name, label in columns.items()}
    assert heard == {"coarse": 24, "embedder": 24 * tiny_fusion.T} | {
        name: int(asked.sum()) for name, asked in rows.items()
    }
    assert all(0 < asked.sum() < 24 for asked in rows.values())


def test_a_window_scores_the_same_beside_any_neighbours_and_at_any_place(family: Artifact) -> None:
    runner = load_runner(family, threads=1, batch=4)
    one = noise(1, seed=5)
    logits, embeddings = runner.run(one)
    for place in range(9):
        others = noise(9, seed=place)
        others[place] = one
        found = runner.run(others)
        np.testing.assert_array_equal(found[0][place], logits[0])
        np.testing.assert_array_equal(found[1][place], embeddings[0])


def test_a_family_may_be_a_member_and_moves_as_a_folder(
    family: Artifact, sources: dict[str, Path], tmp_path: Path
) -> None:
    parents = {"engine": [], "dog": [], "machine": [], "truck": ["engine"], "boat": ["engine"]}
    outer = save_family(
        tmp_path / "outer",
        members={"top": sources["coarse"], "all": family.path},
        gates={"engine": "all"},
        labels=list(parents),
        parents=parents,
    )
    shutil.move(outer.path, tmp_path / "moved")
    for path in (*sources.values(), family.path, tmp_path / "embedder"):
        shutil.rmtree(path)
    runner = load_runner(load_artifact(tmp_path / "moved"), threads=1)
    assert check(runner)["ok"] and runner.run(noise(3))[0].shape == (3, 5)


def test_the_folder_holds_all_members_and_takes_no_more_space(
    sources: dict[str, Path], tmp_path: Path
) -> None:
    family = save(tmp_path / "family", sources)
    files = sorted(str(path.relative_to(family.path)) for path in family.path.rglob("*") if path.is_file())
    assert [name for name in files if "/" not in name] == ["README.md", "check.safetensors", "model.json"]
    assert "members/trucks/embedder/model.onnx" in files
    for place in ("weights.safetensors", "embedder/model.onnx"):
        inside = family.path / "members" / "trucks" / place
        assert inside.samefile(tmp_path / "trucks" / place), "a link"
    described = json.loads((family.path / "model.json").read_text())
    assert described["gates"] == GATES and described["unasked"] == "zero"
    assert described["members"]["coarse"] == load_artifact(tmp_path / "coarse").fingerprint
    card = (family.path / "README.md").read_text()
    assert "| coarse | always: the member on top |" in card and "what is below engine" in card
    single = json.loads((tmp_path / "coarse" / "model.json").read_text())
    assert not {"members", "gates", "unasked"} & set(single), "other models are written as before"


def test_saving_again_replaces_the_members_and_nothing_else(
    family: Artifact, sources: dict[str, Path]
) -> None:
    second = save(family.path, sources, licence="CC0-1.0")
    assert second.fingerprint == family.fingerprint and load_artifact(family.path).licence == "CC0-1.0"
    (family.path / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match=r"holds thesis\.txt, no part of a model"):
        save(family.path, sources)


def test_check_names_the_member_that_changed(
    family: Artifact, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, "check", family.path)[0] == 0
    state = family.path / "members" / "trucks" / "weights.safetensors"
    content = state.read_bytes()
    state.unlink()
    state.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert load_artifact(family.path).fingerprint == family.fingerprint, "what it was saved as"
    status, out, err = run(capsys, "check", family.path)
    assert status == 1 and not out and "members/trucks/weights.safetensors: not as saved" in err
    assert not check_quietly(family.path)
    shutil.rmtree(family.path / "members" / "trucks")
    other = tiny_fusion.save(tmp_path / "new", MEMBERS["trucks"], seed=77)  # sound, but another
    shutil.copytree(other.path, family.path / "members" / "trucks")
    assert load_artifact(family.path).changed_parts() == ["members/trucks/model.json"]
    assert run(capsys, "check", family.path)[0] == 1


def check_quietly(path: Path) -> bool:
    try:
        return bool(check(load_runner(load_artifact(path), threads=1))["ok"])
    except ValueError as error:
        assert "is not the member that the family was saved with; copy it again" in str(error)
        return False


def test_check_asks_every_member_though_its_gate_is_not_entered(
    family: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = load_runner(family, threads=1)
    for name in MEMBERS:
        member = runner.members[name]
        right = member.run
        monkeypatch.setattr(member, "run", lambda x, right=right: (right(x)[0] + 1, right(x)[1]))
        result = check(runner)
        assert name in result["failed"] and not result["ok"]
        monkeypatch.undo()


def test_the_fingerprint_follows_gates_members_and_what_is_unasked(
    family: Artifact, sources: dict[str, Path], tmp_path: Path
) -> None:
    everything = tiny_fusion.save(tmp_path / "everything", LABELS, seed=9).path
    wide = {**sources, "coarse": everything}
    prints = {family.fingerprint, save(tmp_path / "a", wide).fingerprint}
    prints.add(save(tmp_path / "b", wide, unasked="top").fingerprint)
    gates = {"engine": "engines", "machine": "machines"}
    fewer = {name: path for name, path in wide.items() if name != "trucks"}
    with pytest.raises(ValueError, match="label 'reversing': given by nobody"):
        save(tmp_path / "c", fewer, gates=gates)
    prints.add(save(tmp_path / "c", fewer, gates=gates, labels=[x for x in LABELS if PARENTS[x] != ["truck"]])
               .fingerprint)  # fmt: skip
    assert len(prints) == 4
    assert save(tmp_path / "d", sources, name="other", licence="x").fingerprint == family.fingerprint


def test_members_that_hear_something_else_are_refused(sources: dict[str, Path], tmp_path: Path) -> None:
    short = tiny_fusion.save_embedder(tmp_path / "short")
    with pytest.raises(ValueError, match="'members': 'short' has a rate of 8000 Hz, the fam"):
        save(tmp_path / "f", {"coarse": sources["coarse"], "short": short},
             labels=["dog", "machine", "engine", "rain"],
             parents={"rain": ["engine"]}, gates={"engine": "short"})  # fmt: skip
    assert not (tmp_path / "f").exists()


def edit(folder: Path, **fields: object) -> None:
    path = folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"gates": GATES | {"dog": "dogs"}}, "field 'gates': 'dog' asks member 'dogs', which is not there"),
        ({"gates": GATES | {"dog": "coarse"}}, "field 'gates': a circle"),
        ({"gates": {}}, "field 'gates': expected an object, name -> a member, got {}"),
        ({"members": []}, "field 'members': expected an object, name -> a fingerprint, got []"),
        ({"members": {"../x": "0" * 64}}, "field 'members': '../x' cannot be the name of a folder"),
        ({"members": {"x": "0" * 9}}, "field 'members': 'x': expected a SHA-256 in hexadecimal"),
        ({"members": {"coarse": "0" * 64, "dogs": "0" * 64}}, "field 'members': 'dogs' is missing: there is"),
        ({"parents": None}, "field 'parents': a family needs them"),
        ({"parents": [["x"]] * 10 + [3]}, "field 'parents': 'machine': expected a list of labels, got 3"),
        ({"parents": [["engine"]] * 11}, "field 'parents': label 'engine' is its own ancestor: engine"),
        ({"unasked": ""}, "field 'unasked': expected one of zero, top, got ''"),
        ({"embedding_size": 9}, "field 'embedding_size': 9, but the embedding of a family is that of"),
        ({"window": 9}, "field 'members': 'coarse' has a window of 22050 samples, the family one of 9"),
        ({"inputs": [{"kind": "waveform", "rate": 8000}]}, "field 'members': 'coarse' has a rate of 22050"),
        ({"backend": "torch"}, "field 'members': is for a family, but the backend is 'torch'"),
        ({"attachments": ["members"]}, "field 'attachments': expected names of further files"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_refused_by_name(family: Artifact, fields: dict[str, Any], message: str) -> None:
    edit(family.path, **fields)
    with pytest.raises(ValueError) as caught:
        load_artifact(family.path)
    assert str(caught.value).startswith(f"{family.path / 'model.json'}: {message}"), str(caught.value)


@pytest.mark.slow
def test_one_graph_of_a_family_of_fusions_gives_what_the_family_gives(
    family: Artifact, tmp_path: Path
) -> None:
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    graph = load_artifact(export_onnx(family.path, tmp_path / "x.onnx"))
    waveforms = noise(32, seed=4)
    ours, theirs = (load_runner(each, threads=1, batch=8).run(waveforms) for each in (graph, family))
    np.testing.assert_allclose(ours[0], theirs[0], atol=1e-4)
    np.testing.assert_allclose(ours[1], theirs[1], atol=1e-4)
    assert 0 < (theirs[0] == np.float32(NEVER)).mean() < 1


def test_a_family_has_no_weights_of_its_own(family: Artifact) -> None:
    with pytest.raises(ValueError, match="is a family, whose weights are its members'"):
        family.state_path  # noqa: B018
    with pytest.raises(ValueError, match="the model has no log-mel input"):
        family.features  # noqa: B018


def test_it_tags_evaluates_and_embeds_like_any_other(family: Artifact, tmp_path: Path) -> None:
    for label in ("boat", "saw"):
        (tmp_path / "source" / label).mkdir(parents=True)
        for k in range(3):
            sound = noise(1, WINDOW + 5000 * k, seed=k)[0]
            soundfile.write(tmp_path / "source" / label / f"{k}.wav", sound, RATE)
    result = Tagger(family.path, threads=1).tag(tmp_path / "source" / "saw" / "1.wav", top=None)
    assert {tag["label"] for tag in result["tags"]} == set(LABELS)
    pack_source(tmp_path / "source", tmp_path / "pack", rate=RATE, jobs=1, quiet=True)
    figures = evaluate(family.path, tmp_path / "pack", threads=1, quiet=True, draws=0)
    assert (figures["clips"], figures["classes"]) == (6, 2)
    assert figures["model_fingerprint"] == family.fingerprint
    (level,) = figures["levels"]
    assert level == {"level": 1, "classes": 2} | {name: figures[name] for name in ("map", "auc", "d_prime")}
    about = embed_pack(tmp_path / "pack", family.path, name="f", threads=1, quiet=True)
    assert (about["size"], about["windows"], about["fingerprint"]) == (5, 6, family.fingerprint)


def test_tags_are_made_consistent_where_that_is_asked_for(
    family: Artifact, sources: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write(tmp_path / "a.wav", noise(8, seed=3).ravel(), RATE)
    tagger = Tagger(family.path, threads=1)
    plain = tagger.tag(tmp_path / "a.wav", top=None, windows=True)
    fitted = tagger.tag(tmp_path / "a.wav", top=None, windows=True, consistent=True)
    changed = 0
    for before, after in zip([plain, *plain["windows"]], [fitted, *fitted["windows"]], strict=True):
        was, now = ({tag["label"]: tag["score"] for tag in row["tags"]} for row in (before, after))
        for label in LABELS:
            below = [name for name in LABELS if label in ancestors(PARENTS)[name]]
            assert now[label] == max([was[label], *(was[name] for name in below)])
        changed += was != now
    assert changed
    arguments = ("tag", tmp_path / "a.wav", "--model", family.path, "--format", "jsonl", "--top", "11")
    status, out, _ = run(capsys, *arguments, "--consistent")
    assert status == 0 and json.loads(out)["tags"] == fitted["tags"]
    status, out, err = run(capsys, "tag", tmp_path / "a.wav", "--model", tmp_path / "coarse", "--consistent")
    assert (status, out) == (2, "") and "coarse are flat, so no score contradicts another" in err
    with pytest.raises(ValueError, match="its labels are flat"):
        Tagger(tmp_path / "coarse", threads=1).tag(tmp_path / "a.wav", consistent=True)
