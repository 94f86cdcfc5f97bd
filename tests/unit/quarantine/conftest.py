"""Fixtures of the quarantine: a home.

Belongs here: the home of a test. Does not belong here: what it can do (tests/support/quarantine_home.py).
"""

from pathlib import Path

import pytest
from quarantine_home import READINGS, Home

from ml_platform.contracts import SourceContract


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path, SourceContract.model_validate(READINGS))
