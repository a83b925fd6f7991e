"""Double helices of RNA (A form) and DNA (B form) from ideal geometry.

Bases: the standard planar bases and their pairing frame of Olson et al., J. Mol. Biol. 313, 229
(2001). Backbones: cylindrical coordinates found by us as the least-squares solution for one
nucleotide repeated by the form's screw, with the bond lengths and angles of Gelbin et al. and
Parkinson et al. (1996), D-ribose chirality, the form's usual torsions and a contact term; every
bond lies within 0.005 A and every angle within 2 degrees of its ideal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cryoclarity.demo.placement import rotation_about
from cryoclarity.demo.protein import Residue


@dataclass(frozen=True)
class HelixForm:
    """Parameters of a double helix: angstrom and degrees; backbone as (radius, azimuth, z)."""

    rise: float
    twist: float
    x_displacement: float
    inclination: float
    prefix: str
    backbone: dict[str, tuple[float, float, float]]


A_RNA = HelixForm(
    rise=2.81,
    twist=32.73,
    x_displacement=-4.45,
    inclination=15.8,
    prefix="",
    backbone={
        "P": (9.215, 110.76, 3.417),
        "OP1": (10.255, 110.76, 4.477),
        "OP2": (8.024, 104.97, 3.603),
        "O5'": (8.914, 120.50, 3.136),
        "C5'": (10.089, 125.37, 3.072),
        "C4'": (9.912, 133.77, 2.747),
        "O4'": (9.267, 134.93, 1.464),
        "C3'": (9.131, 139.14, 3.701),
        "O3'": (9.921, 140.78, 4.855),
        "C2'": (9.038, 146.99, 2.826),
        "O2'": (10.324, 150.43, 2.745),
        "C1'": (8.659, 143.13, 1.470),
    },
)
B_DNA = HelixForm(
    rise=3.36,
    twist=36.0,
    x_displacement=0.1,
    inclination=-1.0,
    prefix="D",
    backbone={
        "P": (9.196, 85.97, -1.509),
        "OP1": (10.568, 89.27, -1.455),
        "OP2": (8.978, 78.31, -0.682),
        "O5'": (8.202, 93.86, -1.170),
        "C5'": (8.128, 101.37, -2.109),
        "C4'": (7.804, 110.81, -1.436),
        "O4'": (6.397, 113.60, -1.419),
        "C3'": (8.266, 111.28, 0.014),
        "O3'": (8.888, 119.60, 0.319),
        "C2'": (7.004, 108.79, 0.802),
        "C1'": (5.898, 113.77, -0.094),
    },
)

# Planar bases in the pairing frame (x to the major groove, y along the pair), angstrom.
BASES: dict[str, dict[str, tuple[float, float]]] = {
    "A": {
        "C1'": (-2.479, 5.346), "N9": (-1.291, 4.498), "C8": (0.024, 4.897), "N7": (0.877, 3.902),
        "C5": (0.071, 2.771), "C6": (0.369, 1.398), "N6": (1.611, 0.909), "N1": (-0.668, 0.532),
        "C2": (-1.912, 1.023), "N3": (-2.320, 2.290), "C4": (-1.267, 3.124),
    },
    "G": {
        "C1'": (-2.477, 5.399), "N9": (-1.289, 4.551), "C8": (0.023, 4.962), "N7": (0.870, 3.969),
        "C5": (0.071, 2.833), "C6": (0.424, 1.460), "O6": (1.554, 0.955), "N1": (-0.700, 0.641),
        "C2": (-1.999, 1.087), "N2": (-2.949, 0.139), "N3": (-2.342, 2.364), "C4": (-1.265, 3.177),
    },
    "C": {
        "C1'": (-2.477, 5.402), "N1": (-1.285, 4.542), "C2": (-1.472, 3.158), "O2": (-2.628, 2.709),
        "N3": (-0.391, 2.344), "C4": (0.837, 2.868), "N4": (1.875, 2.027), "C5": (1.056, 4.275),
        "C6": (-0.023, 5.068),
    },
    "U": {
        "C1'": (-2.481, 5.354), "N1": (-1.284, 4.500), "C2": (-1.462, 3.131), "O2": (-2.563, 2.608),
        "N3": (-0.302, 2.397), "C4": (0.989, 2.884), "O4": (1.935, 2.094), "C5": (1.089, 4.311),
        "C6": (-0.024, 5.053),
    },
    "T": {
        "C1'": (-2.481, 5.354), "N1": (-1.284, 4.500), "C2": (-1.462, 3.135), "O2": (-2.562, 2.608),
        "N3": (-0.298, 2.407), "C4": (0.994, 2.897), "O4": (1.944, 2.119), "C5": (1.106, 4.338),
        "C7": (2.466, 4.961), "C6": (-0.024, 5.057),
    },
}  # fmt: skip
COMPLEMENT = {
    A_RNA.prefix: dict(zip("AUGC", "UACG", strict=True)),
    B_DNA.prefix: dict(zip("ATGC", "TACG", strict=True)),
}


def build_duplex(sequence: str, form: HelixForm) -> list[list[Residue]]:
    """Return both strands, each 5' to 3', of a duplex on the z axis centred at the origin.

    Parameters
    ----------
    sequence : str
        Strand one, 5' to 3', rising along z.
    form : HelixForm
        `A_RNA` or `B_DNA`.
    """
    count = len(sequence)
    middle = 0.5 * (count - 1)
    strand_one, strand_two = [], []
    flip = np.diag([1.0, -1.0, -1.0])  # the dyad of the pair lies on x
    for k, base in enumerate(sequence):
        turn = rotation_about("z", form.twist * (k - middle))
        rise = np.array([0.0, 0.0, form.rise * (k - middle)])
        partner = COMPLEMENT[form.prefix][base]
        own, other = _nucleotide(base, form, k == 0), _nucleotide(partner, form, k == count - 1)
        strand_one.append(_moved(own, turn, rise))
        strand_two.append(_moved(other, turn @ flip, rise))
    return [strand_one, strand_two[::-1]]


def _nucleotide(base: str, form: HelixForm, first: bool) -> Residue:
    atoms = {}
    for name, (radius, azimuth, z) in form.backbone.items():
        if first and name in ("P", "OP1", "OP2"):
            continue  # a chain begins with its 5' hydroxyl
        angle = np.radians(azimuth)
        atoms[name] = np.array([radius * np.cos(angle), radius * np.sin(angle), z])
    # The backbone was solved for guanine; the others stand up to 0.06 A off, so move the base.
    tilt = rotation_about("x", form.inclination)
    shift = atoms["C1'"] - tilt @ np.array([*BASES[base]["C1'"], 0.0])
    for name, (x, y) in BASES[base].items():
        if name != "C1'":
            atoms[name] = tilt @ np.array([x, y, 0.0]) + shift
    return Residue(form.prefix + base, atoms)


def _moved(residue: Residue, rotation: np.ndarray, shift: np.ndarray) -> Residue:
    return Residue(residue.name, {k: rotation @ v + shift for k, v in residue.atoms.items()})


def move_chains(
    chains: Sequence[Sequence[Residue]], rotation: np.ndarray, shift: np.ndarray
) -> list[list[Residue]]:
    """Return chains after a rigid movement ``R v + t``, angstrom."""
    return [[_moved(residue, rotation, shift) for residue in chain] for chain in chains]
