"""Set the number of threads of every numeric library; must run before numpy is imported."""

from __future__ import annotations

import os

VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def limit_threads(threads: int) -> None:
    """Give BLAS, OpenMP and torch this many threads.

    torch reads OMP_NUM_THREADS when it is imported, so nothing of it is needed here; nor for the
    operators that an Apple GPU lacks, which then run on the CPU.
    """
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
    for variable in VARIABLES:
        os.environ[variable] = str(threads)
