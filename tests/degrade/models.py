"""A small model that needs no file."""

from __future__ import annotations

from functools import lru_cache

from cryoclarity.degrade.parameters import BoxSettings
from cryoclarity.demo.folds import build_fold
from cryoclarity.io.atoms import Atoms

SMALL_BOX = BoxSettings(max_edge=64, margin=8.0, max_atoms=1500)


@lru_cache(maxsize=2)
def small_model(fold: str = "rna_duplexes") -> Atoms:
    """RNA, which is built in no time, or another fold."""
    return build_fold(fold, "degrade tests")
