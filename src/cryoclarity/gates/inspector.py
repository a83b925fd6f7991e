"""One file in, one verdict out: the answer is a row, never an exception."""

from __future__ import annotations

import logging
from pathlib import Path

from cryoclarity.errors import InputError
from cryoclarity.gates.limits import Limits
from cryoclarity.gates.map_gate import check_map, map_facts
from cryoclarity.io.files import GZIP_MAGIC, check_regular
from cryoclarity.io.sniff import content_of, read_head

LOGGER = logging.getLogger(__name__)
PACKED_SUFFIXES = frozenset({".gz", ".bz2", ".xz", ".zip", ".zst", ".7z"})
MODEL_SUFFIXES = frozenset({".cif", ".mmcif", ".pdb", ".ent", ".xml", ".bcif"})
MAP_SUFFIXES = frozenset({".map", ".mrc", ".mrcs", ".ccp4", ".rec", ".st", ".vol", ".omap"})
FORMAT_SUFFIXES = {"mmcif": frozenset({".cif", ".mmcif"}), "pdb": frozenset({".pdb", ".ent"})}


def inspect_file(path: str, limits: Limits | None = None) -> dict[str, object]:
    """Judge one file.

    Parameters
    ----------
    path : str
        As the user gave it.
    limits : Limits, optional

    Returns
    -------
    dict
        ``file kind status code message warnings`` and, when the file is good, its facts:
        of a map ``grid voxel_size origin mode axes byte_order frame min max mean std`` (triples
        x, y, z), of a model ``atoms residues chains elements models altlocs format``.
    """
    kind = kind_by_suffix(path)
    try:
        kind = _kind_by_content(path, kind)
        facts, warnings = (_model if kind == "model" else _map)(path, limits or Limits())
    except InputError as error:
        return _verdict(path, kind, "quarantine", error.code, _message(error))
    except OSError as error:
        return _verdict(path, kind, "quarantine", "FILE_PERMISSION", f"cannot read: {error}")
    except MemoryError:
        code = "MOD_SIZE" if kind == "model" else "HDR_DIM_LIMIT"
        return _verdict(path, kind, "quarantine", code, "does not fit into memory")
    except Exception as error:
        # The last line of defence: one file that nobody thought of must not cost the others.
        LOGGER.debug("unforeseen", exc_info=True)
        message = " ".join(f"{type(error).__name__}: {error}".split())
        return _verdict(path, kind, "quarantine", "INTERNAL", f"internal error: {message}")
    verdict = _verdict(path, kind, "ok", "", "")
    verdict["warnings"] = sorted({code for code, _ in warnings})
    verdict["message"] = "; ".join(f"{code}: {text}" for code, text in warnings)
    return verdict | facts


def kind_by_suffix(path: str) -> str:
    """Return 'model' for a model's suffix and 'map' for all others, compression taken off."""
    return "model" if data_suffix(path) in MODEL_SUFFIXES else "map"


def data_suffix(path: str) -> str:
    """Return the suffix in small letters after taking off that of a compression."""
    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    while suffixes and suffixes[-1] in PACKED_SUFFIXES:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def _kind_by_content(path: str, kind: str) -> str:
    """Let the content overrule the name, except model text that claims to be a map."""
    check_regular(path)
    found = content_of(read_head(path)).kind
    if found == "map":
        return "map"
    if found in FORMAT_SUFFIXES and data_suffix(path) not in MAP_SUFFIXES:
        return "model"
    return kind


def _map(path: str, limits: Limits):
    scan = check_map(path, limits.maps)
    return map_facts(scan), [*scan.warnings, *_packing_warning(path)]


def _model(path: str, limits: Limits):
    from cryoclarity.gates.model_gate import check_model, model_facts  # gemmi only when needed

    model, warnings = check_model(
        path, max_atoms=limits.max_atoms, max_bytes=limits.max_model_bytes
    )
    suffix = data_suffix(path)
    if suffix in MODEL_SUFFIXES and suffix not in FORMAT_SUFFIXES[model.format]:
        warnings = [*warnings, ("W_SUFFIX", f"{suffix} file holds {model.format}")]
    return model_facts(model), [*warnings, *_packing_warning(path)]


def _packing_warning(path: str) -> list[tuple[str, str]]:
    with Path(path).open("rb") as handle:
        packed = handle.read(2) == GZIP_MAGIC
    named = path.lower().endswith(".gz")
    if packed == named:
        return []
    return [("W_SUFFIX", "plain bytes under .gz" if named else "gzip bytes without .gz")]


def _message(error: InputError) -> str:
    text = " ".join(error.message.split())
    return f"{text} ({error.remedy})" if error.remedy else text


def _verdict(path: str, kind: str, status: str, code: str, message: str) -> dict[str, object]:
    return {
        "file": path,
        "kind": kind,
        "status": status,
        "code": code,
        "message": message,
        "warnings": [],
    }
