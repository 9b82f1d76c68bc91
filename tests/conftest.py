"""Fixtures that several test files share."""

from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture
def shared_data() -> Path:
    """The folder of real recordings and annotations that is not part of the project."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"real recordings are not here: {SHARED_DATA} does not exist")
    return SHARED_DATA
