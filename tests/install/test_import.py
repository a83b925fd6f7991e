"""The console command starts without the heavy libraries."""

import subprocess
import sys

HEAVY = (
    *("torch", "gemmi", "matplotlib", "scipy", "pandas", "bokeh"),
    *("numpy", "h5py", "mrcfile", "requests", "snakemake"),
)


def test_the_command_loads_no_heavy_library():
    code = (
        "import sys, cryoclarity, cryoclarity.cli.main\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_command_loads_numpy_before_its_threads_are_set():
    """BLAS and torch read the number of threads when they are loaded."""
    code = (
        "import contextlib, sys\n"
        "from cryoclarity.cli.main import COMMANDS, main\n"
        "for name in COMMANDS:\n"
        "    with contextlib.suppress(SystemExit):\n"
        "        main([name, '--help'])\n"
        f"    found = [heavy for heavy in {HEAVY} if heavy in sys.modules]\n"
        "    assert not found, (name, found)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
