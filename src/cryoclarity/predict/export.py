"""A network as one exported program, which torch runs without this package."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from cryoclarity.errors import ConfigError, CryoClarityError
from cryoclarity.io.files import atomic_path, sha256_of, write_json
from cryoclarity.nets.registry import box_multiple, network_description
from cryoclarity.predict.model import weights_hash
from cryoclarity.train.weights import CARD, load_weights

# Largest deviation from the network itself, relative to its largest answer.
TOLERANCE = 1e-5
LARGEST_BATCH = 1024
# Batches of the comparison; the first is the one that is traced, and 1 needs to work too.
BATCHES = (2, 1, 3)
SUFFIX = ".pt2"


@dataclass(frozen=True)
class Exported:
    """What was written: the program's bytes, and the record that lies beside them."""

    content: bytes
    record: dict[str, object]


def export_weights(
    path: str | Path, out: str | Path, task: str | None = None, box: int | None = None
) -> dict[str, object]:
    """Write trained weights as ``out`` (.pt2) and its record beside it (.json).

    Parameters
    ----------
    path : folder or file of weights, as :func:`cryoclarity.train.weights.load_weights` reads
    out : path, ending in .pt2
    task : 'enhance' or 'resolution'
        Of the weights, where it is to be checked.
    box : int
        Voxels per axis of the program's boxes; the card's by default.

    Returns
    -------
    dict
        The record.

    Raises
    ------
    ConfigError
        Wrong suffix, task or box.
    InputError
        As the weights cannot be read.
    CryoClarityError
        The program answers otherwise than the network; nothing is written.
    """
    out = Path(out)
    if out.suffix != SUFFIX:
        raise ConfigError(f"an exported program ends in {SUFFIX}", file=out)
    path = Path(path)
    inner = path / f"{task}_1.0"
    if not (path / CARD).exists() and inner.is_dir():
        path = inner
    network, card = load_weights(path)
    if task is not None and card.get("task") != task:
        raise ConfigError(f"weights are for {card.get('task')!r}, not {task!r}", file=path)
    exported = export_network(network, card, box or card.get("box"))
    record = exported.record | {"weights_sha256": weights_hash(path)}
    with atomic_path(out) as temporary:
        temporary.write_bytes(exported.content)
    record |= {"sha256": sha256_of(out)}
    write_json(out.with_suffix(".json"), record)
    return record


def export_network(network: nn.Module, card: dict[str, object], box: int | None) -> Exported:
    """Trace a network for boxes of one size and any number, and compare.

    Parameters
    ----------
    network : on the CPU, in evaluation mode
    card : its card, kept within the program as ``card.json``
    box : voxels per axis

    Raises
    ------
    ConfigError, CryoClarityError
        As for :func:`export_weights`.
    """
    description = network_description(card["network"])
    multiple = box_multiple(str(description["name"]))
    if not box or box % multiple:
        raise ConfigError(f"box {box} is no multiple of {multiple}", remedy="give --box")
    shape = (int(description["in_channels"]), box, box, box)
    program = _traced(network, _input(BATCHES[0], shape))
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={CARD: json.dumps(card, sort_keys=True)})
    content = buffer.getvalue()
    deviation = largest_deviation(network, content, shape)
    if not deviation <= TOLERANCE:
        raise CryoClarityError(
            f"the exported {description['name']} is off by {deviation:.2g} of its largest answer",
            remedy="use the weights with this package; nothing was written",
        )
    record = {
        "card": card,
        "input_shape": ["batch", *shape],
        "largest_batch": LARGEST_BATCH,
        "largest_relative_deviation": deviation,
        "torch": torch.__version__,
    }
    return Exported(content, record)


def largest_deviation(network: nn.Module, content: bytes, shape: tuple[int, ...]) -> float:
    """Return how far a written program is off, relative to the network's largest answer."""
    loaded = torch.export.load(io.BytesIO(content)).module()
    worst = 0.0
    with torch.inference_mode():
        for batch in BATCHES:
            x = _input(batch, shape)
            wanted = network(x)
            error = (loaded(x) - wanted).abs().max() / wanted.abs().max().clamp(min=1e-30)
            worst = max(worst, float(error.nan_to_num(nan=float("inf"))))
    return worst


def _traced(network: nn.Module, x: Tensor) -> ExportedProgram:
    dynamic = ({0: Dim("batch", min=1, max=LARGEST_BATCH)},)
    with torch.no_grad():
        program = torch.export.export(network, (x,), dynamic_shapes=dynamic)
    for node in program.graph.nodes:
        # Names files of this machine; the same network shall give the same bytes everywhere.
        node.meta.pop("stack_trace", None)
    return program


def _input(batch: int, shape: tuple[int, ...]) -> Tensor:
    generator = torch.Generator().manual_seed(batch)
    return torch.randn(batch, *shape, generator=generator)
