"""Write the demo archive in the paths of the public ones."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from cryoclarity.demo.entries import ENTRIES, DemoEntry
from cryoclarity.demo.folds import build_fold
from cryoclarity.demo.map_bytes import encode_map
from cryoclarity.demo.maps import synthesise
from cryoclarity.errors import ConfigError
from cryoclarity.io.files import sha256_of, write_bytes
from cryoclarity.io.model import write_mmcif
from cryoclarity.io.tables import write_table

log = logging.getLogger(__name__)

INDEX_COLUMNS = ("path", "bytes", "sha256")


def write_archive(out: Path, rows: Sequence[Mapping[str, str]]) -> Path:
    """Generate the entries of a table and their index.

    Parameters
    ----------
    out : Path
        Folder that becomes the archive's root, with `emdb/` and `pdb/` below it.
    rows : sequence of mapping
        Needs `emdb_id` and `pdb_id`.

    Returns
    -------
    Path
        ``out/archive.tsv``: path, bytes and sha256 of every file, written last.

    Raises
    ------
    ConfigError
        ID_UNKNOWN when the table names an entry that the demo does not have.
    """
    written: list[Path] = []
    for row in rows:
        if row["emdb_id"] not in ENTRIES:
            raise ConfigError(
                f"the demo archive has no entry {row['emdb_id']}",
                code="ID_UNKNOWN",
                remedy="set archive.demo to false for real entries",
            )
        log.info("generating %s", row["emdb_id"])
        for path, content in _entry_files(row["emdb_id"], row["pdb_id"], out):
            if content is not None:
                write_bytes(path, content)
            written.append(path)
    index = out / "archive.tsv"
    facts = [
        {"path": p.relative_to(out).as_posix(), "bytes": p.stat().st_size, "sha256": sha256_of(p)}
        for p in sorted(written)
    ]
    write_table(index, facts, INDEX_COLUMNS)
    return index


def _entry_files(emdb_id: str, pdb_id: str, out: Path) -> Iterator[tuple[Path, bytes | None]]:
    """Yield path and content of each file; None where the file is written already."""
    entry = ENTRIES[emdb_id]
    recipe = entry.recipe
    atoms = build_fold(entry.fold, emdb_id)
    # The model stands a fraction of a voxel off the centre, as no real model is centred.
    centre = recipe.voxel_size * (0.5 * recipe.size + np.array([0.3, -0.2, 0.1]))
    maps = synthesise(replace(atoms, xyz=atoms.xyz + centre), recipe, emdb_id)
    number = emdb_id.removeprefix("EMD-")
    folder = out / "emdb" / "structures" / emdb_id
    primary = _damaged(maps.primary) if entry.damaged else maps.primary
    yield folder / "map" / f"emd_{number}.map.gz", _encoded(primary, entry)
    for index, half in enumerate(maps.halves, start=1):
        name = f"emd_{number}_half_map_{index}.map.gz"
        yield folder / "other" / name, _encoded(half, entry)
    yield out / "extra" / f"truth_{number}.mrc.gz", _encoded(maps.truth, entry)
    shift = centre + recipe.voxel_size * np.array(entry.start)
    model = out / "pdb" / "data" / "structures" / "divided" / "mmCIF" / pdb_id[1:3]
    # Files of the archive carry three decimals.
    placed = replace(atoms, xyz=np.round(atoms.xyz + shift, 3))
    write_mmcif(model / f"{pdb_id}.cif.gz", placed, pdb_id.upper())
    yield model / f"{pdb_id}.cif.gz", None


def _encoded(density: np.ndarray, entry: DemoEntry) -> bytes:
    return encode_map(density, entry.recipe.voxel_size, entry.start, entry.style)


def _damaged(density: np.ndarray) -> np.ndarray:
    broken = density.copy()
    broken[tuple(n // 2 for n in broken.shape)] = np.nan
    return broken
