"""Fixtures for all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


def pytest_configure() -> None:
    """Give each worker one thread, before numpy and torch are imported.

    Workers that share two cores would otherwise spin against each other: 20 times slower.
    """
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """Reference data and real maps that do not travel with the repository."""
    if not SHARED.is_dir():
        pytest.skip("../shared (reference data) is not there")
    return SHARED
