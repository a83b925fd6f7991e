"""Networks by name: build one from a description, or recognise one by its tensors."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

from torch import Tensor, nn

from cryoclarity.errors import ConfigError, InputError
from cryoclarity.nets import bands, refine, scunet, unet3d

NETWORKS: dict[str, type[nn.Module]] = {
    "scunet": scunet.SCUNet,
    "unet3d": unet3d.UNet3D,
    "bands": bands.BandUNet,
    "bands-voxelwise": bands.BandVoxelwise,
    "refine": refine.RefineNet,
}
BOX_MULTIPLES = {
    "scunet": scunet.BOX_MULTIPLE,
    "unet3d": unet3d.BOX_MULTIPLE,
    "bands": bands.BOX_MULTIPLE,
    "bands-voxelwise": 1,
    "refine": refine.BOX_MULTIPLE,
}
# What the boxes of a network hold: voxels of the map, or band powers on the 2 angstrom grid.
VOXEL_LAYOUT, BAND_LAYOUT = "voxels", "bands"


def network_description(settings: Mapping[str, object]) -> dict[str, object]:
    """Complete a description by the defaults of its network.

    Parameters
    ----------
    settings : mapping
        ``name`` and any constructor arguments.

    Returns
    -------
    dict
        ``name`` and every constructor argument; enough to build the same network for ever.

    Raises
    ------
    ConfigError
        Unknown network or argument.
    """
    arguments = dict(settings)
    name = arguments.pop("name", None)
    if name not in NETWORKS:
        raise ConfigError(f"unknown network {name!r}", remedy=f"one of {', '.join(NETWORKS)}")
    parameters = inspect.signature(NETWORKS[name]).parameters
    unknown = sorted(set(arguments) - set(parameters))
    if unknown:
        raise ConfigError(
            f"network {name} has no argument {', '.join(unknown)}",
            remedy=f"known: {', '.join(parameters)}",
        )
    full = {key: arguments.get(key, parameter.default) for key, parameter in parameters.items()}
    lists = {key: list(value) if isinstance(value, tuple) else value for key, value in full.items()}
    return {"name": name, **lists}


def build_network(settings: Mapping[str, object]) -> nn.Module:
    """Build the network that a description or a card names.

    Raises
    ------
    ConfigError
        Unknown network or argument, or widths that do not fit together.
    """
    arguments = network_description(settings)
    name = arguments.pop("name")
    try:
        return NETWORKS[name](**arguments)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"network {name}: {error}") from error


def box_multiple(name: str) -> int:
    """The number of which every axis of a box must be a multiple."""
    return BOX_MULTIPLES[name]


def box_layout(name: str) -> str:
    """What the boxes of a network hold: `VOXEL_LAYOUT` or `BAND_LAYOUT`."""
    return BAND_LAYOUT if name.startswith("bands") else VOXEL_LAYOUT


def infer_network(state: Mapping[str, Tensor]) -> dict[str, object]:
    """Description of the published network that a bare state dict belongs to.

    Raises
    ------
    InputError
        WEIGHTS_FORMAT when the names belong to no known network.
    """
    if "m_head.0.weight" in state:
        return _infer_scunet(state)
    if "conv1_1.0.weight" in state:
        return _infer_unet3d(state)
    raise InputError(
        "tensor names belong to no known network",
        code="WEIGHTS_FORMAT",
        remedy="give a state dict of SCUNet or of the 3-D U-Net",
    )


def _infer_scunet(state: Mapping[str, Tensor]) -> dict[str, object]:
    dim, in_channels = state["m_head.0.weight"].shape[:2]
    config = []
    for stage in ("down1", "down2", "down3", "body", "up3", "up2", "up1"):
        names = [name.split(".") for name in state if name.startswith(f"m_{stage}.")]
        config.append(len({name[1] for name in names if name[2] == "conv1_1"}))
    tables = [v for k, v in state.items() if k.endswith("relative_position_params")]
    first = state.get("m_down1.0.trans_block.msa.relative_position_params")
    if first is None and tables:
        raise InputError("the first stage has no attention", code="WEIGHTS_FORMAT")
    return network_description(
        {
            "name": "scunet",
            "in_channels": in_channels,
            "out_channels": state["m_tail.0.weight"].shape[0],
            "dim": dim,
            "config": config,
            "head_dim": 16 if first is None else dim // 2 // first.shape[0],
            "attention": first is not None,
        }
    )


def _infer_unet3d(state: Mapping[str, Tensor]) -> dict[str, object]:
    encoders = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv_root1")
    missing = [name for name in encoders if f"{name}.0.weight" not in state]
    if missing or "deconv1_2.4.weight" not in state:
        raise InputError(f"3-D U-Net lacks {missing or 'deconv1_2.4'}", code="WEIGHTS_FORMAT")
    return network_description(
        {
            "name": "unet3d",
            "in_channels": state["conv1_1.0.weight"].shape[1],
            "out_channels": state["deconv1_2.4.weight"].shape[0],
            "channels": [state[f"{name}.0.weight"].shape[0] for name in encoders],
            "regulariser": "batchnorm" if "conv1_2.2.running_mean" in state else "dropout",
        }
    )
