"""Trainings behind a model: all of them, each once."""

from types import SimpleNamespace

from auricle.artifact.trainings import each_once, heard_before

TEACHER = {"data": "first"}


def model(training: dict, **within: SimpleNamespace) -> SimpleNamespace:
    return SimpleNamespace(training=training, within={name: ("", part) for name, part in within.items()})


def test_a_model_in_a_model_in_a_model_is_heard_of() -> None:
    deepest = model({"data": "c", "heard": {"clips": 3}, "step": 7})
    top = model({"data": "a"}, member=model({"data": "b"}, embedder=deepest))
    assert heard_before(top) == [{"data": "a"}, {"data": "b"}, {"data": "c", "heard": {"clips": 3}}]


def test_members_that_had_one_teacher_name_it_once() -> None:
    members = {name: model({"data": name, "within": [TEACHER]}) for name in "bc"}
    assert each_once(heard_before(model({}, **members)))[1:] == [{"data": "b"}, TEACHER, {"data": "c"}]


def test_two_trainings_of_one_pack_stay_two() -> None:
    two = [{"data": "a", "config": {"seed": seed}} for seed in (0, 1)]
    assert each_once(two) == two
