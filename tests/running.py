"""Commands and scripts as tests run them, in this process."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from auricle.cli import main

ROOT = Path(__file__).parents[1]


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """`auricle` with these arguments: exit status, standard output, standard error."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    return int(ended.value.code or 0), printed.out, printed.err


def load_script(path: str) -> ModuleType:
    """A script of the project, by its path from the root, as a module: it defines all and does nothing."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
