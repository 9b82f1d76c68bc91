"""Data flows one way: a module imports only from layers below its own."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "auricle"
LAYERS = [  # lowest first; modules of one layer do not import each other
    {"text", "tables", "disk", "hierarchy", "grids", "remote", "thresholds", "pooling"},
    {
        "event_settings",
        "audio",
        "features",
        "metrics",
        "formats",
        "fingerprint",
        "embedding_tables",
        "progress",
        "gating",
        "linear",
    },
    {"media_files", "frontend", "presets"},
    {"datasets", "models", "augment", "noise", "pitch", "distributed", "events", "listening"},
    {"shards", "sampling", "artifact", "runners"},
    {"probabilities", "scoring"},
    {
        "changes",
        "degrade",
        "tagging",
        "evaluation",
        "report",
        "planning",
        "hear",
        "family",
        "heads",
        "averaging",
    },
    {"embedding", "search"},
    {"training", "engine", "calibration", "doctor", "interop"},
    {"recipes", "own_classes"},
    {"experiments", "serve"},
    {"measuring"},
    {"cli"},
]
LEVEL = {module: level for level, modules in enumerate(LAYERS) for module in modules}
ALLOWED_SIDEWAYS = {("frontend", "features")}
ONLY_IN = {
    "matplotlib": {"report"},
    "sklearn": set(),
    "librosa": set(),
    "pandas": set(),
    "duckdb": set(),
    "torchaudio": set(),
    "torchvision": set(),
    "torch.distributed": {"distributed"},
    "ray": {"engine/ray.py"},
    "fsspec": {"remote/files.py"},
    "s3fs": set(),
    "usearch": {"search/graphs.py"},
    "fastapi": {"serve"},
    "starlette": {"serve"},
    "uvicorn": {"serve"},
    "prometheus_client": {"serve"},
    "torch": {
        "frontend",
        "augment",
        "changes",
        "degrade",
        "noise",
        "pitch",
        "distributed",
        "models",
        "training",
        "interop",
        "experiments",
        "runners/torch.py",
    },  # fmt: skip
}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


FILES = [
    path
    for path in PACKAGE.rglob("*.py")
    if path.parent != PACKAGE or path.stem not in ("__init__", "__main__")
]


def test_there_are_files_to_look_at() -> None:
    assert len(FILES) > 5


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    relative = path.relative_to(PACKAGE)
    here = relative.parts[0].removesuffix(".py")
    for name in imports(path):
        package, _, rest = name.partition(".")
        there = rest.split(".")[0]
        if package == "auricle" and there and there != here and not there.startswith("__"):
            assert there in LEVEL, f"{there} is in no layer: add it to LAYERS"
            assert LEVEL[there] < LEVEL[here] or (here, there) in ALLOWED_SIDEWAYS, (
                f"{here} must not import {there}"
            )
        for library, allowed in ONLY_IN.items():
            if name == library or name.startswith(library + "."):
                assert here in allowed or relative.as_posix() in allowed, f"{here} must not import {library}"
