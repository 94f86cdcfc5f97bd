"""Fixtures of erasure: the inhabited town.

Belongs here: a town for each test. Does not belong here: how it is made (tests/support/inhabited.py).
"""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from inhabited import DECLARED, inhabit


@pytest.fixture
def town(inhabited: Any, tmp_path: Path) -> Any:
    """The inhabited town in a folder of the test's own: it takes seconds to make."""
    shutil.copytree(inhabited.root, tmp_path / "erasure")
    return replace(inhabited, root=tmp_path / "erasure", said=[])


@pytest.fixture(scope="session")
def inhabited(build_town: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return inhabit(build_town(tmp_path_factory.mktemp("inhabited"), "erasure", *DECLARED))
