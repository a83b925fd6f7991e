"""What travels with every output: versions, parameters, and the hashes of the inputs."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from pathlib import Path

from cryoclarity import __version__
from cryoclarity.io.files import sha256_of

NUMERIC_PACKAGES = ("numpy", "scipy", "gemmi", "mrcfile", "h5py", "torch")


def software_versions() -> dict[str, str]:
    """Return the versions of this package and of the libraries that numbers depend on.

    Local suffixes of a build ('+cpu') are left out: they name a machine, not a version.
    """
    versions = {"cryoclarity": __version__}
    for package in NUMERIC_PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package).split("+")[0]
        except importlib.metadata.PackageNotFoundError:
            continue  # an environment holds only what its stages need
    return versions


def sidecar(
    tool: str, parameters: Mapping[str, object], inputs: Mapping[str, str | Path | None]
) -> dict[str, object]:
    """Return the record that a tool writes beside its output.

    Parameters
    ----------
    tool : str
    parameters : mapping
        Every setting that the result depends on.
    inputs : mapping of role to path
        Hashed; only the file name is kept, never a path of one machine.

    Returns
    -------
    dict
        Keys ``tool parameters inputs versions``; holds no time, so that equal inputs give
        equal bytes.
    """
    return {
        "tool": tool,
        "parameters": dict(parameters),
        "inputs": {
            role: {"name": Path(path).name, "sha256": sha256_of(path)}
            for role, path in inputs.items()
            if path is not None
        },
        "versions": software_versions(),
    }
