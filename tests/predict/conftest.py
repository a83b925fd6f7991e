"""Fixtures of the prediction tests."""

from __future__ import annotations

import pytest

from tests.predict.tiny import write_weights


@pytest.fixture(scope="session")
def weights_folder(tmp_path_factory):
    """Results of a training of all three data sets; the fine one had no data."""
    root = tmp_path_factory.mktemp("train")
    write_weights(root / "enhance_1.0", "enhance")
    write_weights(root / "enhance_0.5", "enhance", 0.5, status="skipped")
    write_weights(root / "resolution_1.0", "resolution")
    return root
