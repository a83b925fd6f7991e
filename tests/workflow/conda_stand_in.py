"""A stand-in for conda: makes an environment with pip from the file that conda would read.

It answers the calls that Snakemake makes and no other. What it installs are the packages that the
environment file names, at the versions it names, under their names on the Python index. It proves
that every file parses, that each rule runs with its own environment's interpreter, and that the
packages named are enough. It does not prove that conda-forge has these versions for a platform.
"""

import json
import subprocess
import sys
import venv
from pathlib import Path

import yaml

INDEX_NAMES = {"pytorch-cpu": "torch", "pytorch-gpu": "torch", "matplotlib-base": "matplotlib"}
ACTIVATE = 'export CONDA_PREFIX="$1"\nexport PATH="$1/bin:$PATH"\n'
# Runs in every interpreter of an environment: notes modules that came from elsewhere.
WATCH = """
import atexit, os, sys

def note():
    trace = os.environ.get("CRYOCLARITY_CONDA_TRACE")
    if not trace:
        return
    library = os.path.dirname(os.__file__)
    allowed = [sys.prefix, *os.environ.get("CRYOCLARITY_CONDA_SOURCES", "").split(os.pathsep)]
    foreign = []
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not file or any(file.startswith(place) for place in allowed):
            continue
        if file.startswith(library) and "site-packages" not in file:
            continue
        foreign.append(name)
    with open(trace, "a") as handle:
        script = os.path.basename(sys.argv[0])
        handle.write("\\t".join((sys.prefix, script, ",".join(foreign))) + "\\n")

atexit.register(note)
"""


def main(arguments):
    if arguments[:1] == ["info"]:
        base = Path(__file__).resolve().parents[1]
        print(json.dumps({"conda_prefix": str(base), "platform": "linux-64"}))
    elif arguments[:1] == ["--version"]:
        print("conda 25.3.0")
    elif arguments[:1] == ["config"]:
        print(json.dumps({"get": {"channel_priority": "strict"}}))
    elif arguments[:2] == ["env", "create"]:
        create(
            Path(arguments[arguments.index("--file") + 1]),
            Path(arguments[arguments.index("--prefix") + 1]),
        )
    elif arguments[:1] != ["clean"]:
        sys.exit(f"the stand-in knows no {' '.join(arguments)}")


def create(file, prefix):
    wanted = []
    for line in yaml.safe_load(file.read_text())["dependencies"]:
        package, version = line.split(" =")
        if package != "python":
            wanted.append(f"{INDEX_NAMES.get(package, package)}=={version}")
    venv.create(prefix, with_pip=True, symlinks=True)
    python = prefix / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", *wanted], check=True)
    (library,) = (prefix / "lib").glob("python3*")
    (library / "site-packages" / "sitecustomize.py").write_text(WATCH)


if __name__ == "__main__":
    main(sys.argv[1:])
