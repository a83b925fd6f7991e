"""Ideal geometry of the twenty amino acids as internal coordinates.

Bond lengths and angles are the means of Engh & Huber, Acta Cryst. A47, 392 (1991), rounded;
rotamers are the common ones of Lovell et al., Proteins 40, 389 (2000), rounded to 5 degrees.
"""

from __future__ import annotations

import itertools

# Backbone, angstrom and degrees.
N_CA, CA_C, C_N, C_O, CA_CB = 1.458, 1.525, 1.329, 1.231, 1.530
N_CA_C, CA_C_N, C_N_CA, CA_C_O, C_CA_CB = 111.2, 116.2, 121.7, 120.8, 110.1
# Improper N-C-CA-CB that makes an L-amino acid.
L_IMPROPER = 122.6

# Side chains: atom, its three references (nearest last), bond, angle, chi number (0 = none),
# offset to chi or the fixed dihedral.
SideAtom = tuple[str, str, str, str, float, float, int, float]

_TETRA = ("CG", "N", "CA", "CB", 1.520, 114.1, 1, 0.0)


def _carboxylate(c: str, d: str, o1: str, o2: str, chi: int, references: tuple) -> list[SideAtom]:
    before, middle = references
    return [
        (c, before, middle, d, 1.516, 112.6, chi - 1, 0.0),
        (o1, middle, d, c, 1.249, 118.4, chi, 0.0),
        (o2, middle, d, c, 1.249, 118.4, chi, 180.0),
    ]


def _amide(c: str, d: str, o: str, n: str, chi: int, references: tuple) -> list[SideAtom]:
    before, middle = references
    return [
        (c, before, middle, d, 1.516, 112.6, chi - 1, 0.0),
        (o, middle, d, c, 1.231, 120.8, chi, 0.0),
        (n, middle, d, c, 1.328, 116.4, chi, 180.0),
    ]


def _phenyl(cg: float, cd: float, ce: float, cz: float) -> list[SideAtom]:
    return [
        ("CG", "N", "CA", "CB", cg, 113.8, 1, 0.0),
        ("CD1", "CA", "CB", "CG", cd, 120.7, 2, 0.0),
        ("CD2", "CA", "CB", "CG", cd, 120.7, 2, 180.0),
        ("CE1", "CB", "CG", "CD1", ce, 120.7, 0, 180.0),
        ("CE2", "CB", "CG", "CD2", ce, 120.7, 0, 180.0),
        ("CZ", "CG", "CD1", "CE1", cz, 120.0, 0, 0.0),
    ]


SIDE_CHAINS: dict[str, list[SideAtom]] = {
    "GLY": [],
    "ALA": [],
    "SER": [("OG", "N", "CA", "CB", 1.417, 111.1, 1, 0.0)],
    "CYS": [("SG", "N", "CA", "CB", 1.808, 114.4, 1, 0.0)],
    "THR": [
        ("OG1", "N", "CA", "CB", 1.433, 109.6, 1, 0.0),
        ("CG2", "N", "CA", "CB", 1.521, 110.5, 1, -121.5),
    ],
    "VAL": [
        ("CG1", "N", "CA", "CB", 1.521, 110.5, 1, 0.0),
        ("CG2", "N", "CA", "CB", 1.521, 110.5, 1, 122.5),
    ],
    "LEU": [
        ("CG", "N", "CA", "CB", 1.530, 116.3, 1, 0.0),
        ("CD1", "CA", "CB", "CG", 1.521, 110.7, 2, 0.0),
        ("CD2", "CA", "CB", "CG", 1.521, 110.7, 2, 122.5),
    ],
    "ILE": [
        ("CG1", "N", "CA", "CB", 1.530, 110.4, 1, 0.0),
        ("CG2", "N", "CA", "CB", 1.521, 110.5, 1, -122.5),
        ("CD1", "CA", "CB", "CG1", 1.513, 113.8, 2, 0.0),
    ],
    "MET": [
        _TETRA,
        ("SD", "CA", "CB", "CG", 1.803, 112.7, 2, 0.0),
        ("CE", "CB", "CG", "SD", 1.791, 100.9, 3, 0.0),
    ],
    "LYS": [
        _TETRA,
        ("CD", "CA", "CB", "CG", 1.520, 111.3, 2, 0.0),
        ("CE", "CB", "CG", "CD", 1.520, 111.3, 3, 0.0),
        ("NZ", "CG", "CD", "CE", 1.489, 111.9, 4, 0.0),
    ],
    "ARG": [
        _TETRA,
        ("CD", "CA", "CB", "CG", 1.520, 111.3, 2, 0.0),
        ("NE", "CB", "CG", "CD", 1.461, 112.0, 3, 0.0),
        ("CZ", "CG", "CD", "NE", 1.329, 124.2, 4, 0.0),
        ("NH1", "CD", "NE", "CZ", 1.326, 120.0, 0, 0.0),
        ("NH2", "CD", "NE", "CZ", 1.326, 119.7, 0, 180.0),
    ],
    "ASP": _carboxylate("CG", "CB", "OD1", "OD2", 2, ("N", "CA")),
    "ASN": _amide("CG", "CB", "OD1", "ND2", 2, ("N", "CA")),
    "GLU": [_TETRA, *_carboxylate("CD", "CG", "OE1", "OE2", 3, ("CA", "CB"))],
    "GLN": [_TETRA, *_amide("CD", "CG", "OE1", "NE2", 3, ("CA", "CB"))],
    "PHE": _phenyl(1.502, 1.384, 1.382, 1.382),
    "TYR": [
        *_phenyl(1.512, 1.389, 1.382, 1.378),
        ("OH", "CD1", "CE1", "CZ", 1.376, 119.9, 0, 180.0),
    ],
    "HIS": [
        ("CG", "N", "CA", "CB", 1.497, 113.8, 1, 0.0),
        ("ND1", "CA", "CB", "CG", 1.378, 122.7, 2, 0.0),
        ("CD2", "CA", "CB", "CG", 1.354, 131.2, 2, 180.0),
        ("CE1", "CB", "CG", "ND1", 1.321, 109.3, 0, 180.0),
        ("NE2", "CB", "CG", "CD2", 1.374, 107.2, 0, 180.0),
    ],
    "TRP": [
        ("CG", "N", "CA", "CB", 1.498, 113.6, 1, 0.0),
        ("CD1", "CA", "CB", "CG", 1.365, 126.9, 2, 0.0),
        ("CD2", "CA", "CB", "CG", 1.433, 126.8, 2, 180.0),
        ("NE1", "CB", "CG", "CD1", 1.374, 110.2, 0, 180.0),
        ("CE2", "CB", "CG", "CD2", 1.409, 107.2, 0, 180.0),
        ("CE3", "CB", "CG", "CD2", 1.398, 133.9, 0, 0.0),
        ("CZ2", "CG", "CD2", "CE2", 1.394, 122.4, 0, 180.0),
        ("CZ3", "CG", "CD2", "CE3", 1.382, 118.6, 0, 180.0),
        ("CH2", "CD2", "CE2", "CZ2", 1.368, 117.5, 0, 0.0),
    ],
    # The ring closes (CD-N 1.47) because CB stands at 103 degrees and chi 1 and 2 are fixed.
    "PRO": [
        ("CG", "N", "CA", "CB", 1.492, 104.5, 1, 0.0),
        ("CD", "CA", "CB", "CG", 1.503, 106.1, 2, 0.0),
    ],
}

_GAUCHE = (-65.0, 180.0, 65.0)

ROTAMERS: dict[str, list[tuple[float, ...]]] = {
    "GLY": [()],
    "ALA": [()],
    "SER": [(62.0,), (-65.0,), (180.0,)],
    "CYS": [(-65.0,), (180.0,), (62.0,)],
    "THR": [(62.0,), (-65.0,), (180.0,)],
    "VAL": [(175.0,), (-60.0,), (63.0,)],
    "LEU": [(-65.0, 175.0), (180.0, 65.0), (-85.0, 65.0), (-170.0, 170.0)],
    "ILE": [(-65.0, 170.0), (-60.0, -60.0), (62.0, 170.0), (-175.0, 165.0), (-175.0, 65.0)],
    "ASP": list(itertools.product(_GAUCHE, (-15.0, 20.0, 60.0))),
    "ASN": list(itertools.product(_GAUCHE, (-20.0, 30.0, 120.0, -75.0))),
    "PHE": [(-65.0, -85.0), (180.0, 80.0), (62.0, 90.0), (-65.0, -30.0)],
    "TYR": [(-65.0, -85.0), (180.0, 80.0), (62.0, 90.0), (-65.0, -30.0)],
    "HIS": list(itertools.product(_GAUCHE, (-75.0, 80.0, 165.0))),
    "TRP": [
        (-65.0, 95.0),
        (180.0, -105.0),
        (180.0, 90.0),
        (-65.0, -5.0),
        (62.0, -90.0),
        (-65.0, -90.0),
        (62.0, 90.0),
    ],
    "MET": list(itertools.product(_GAUCHE, (180.0, 65.0, -65.0), (180.0, 70.0, -70.0))),
    "GLU": list(itertools.product(_GAUCHE, (180.0, 65.0, -65.0), (0.0, 60.0, -40.0))),
    "GLN": list(itertools.product(_GAUCHE, (180.0, 65.0, -65.0), (0.0, 60.0, -60.0))),
    "LYS": list(itertools.product(_GAUCHE, (180.0, 65.0, -65.0), (180.0, 65.0, -65.0), (180.0,))),
    "ARG": list(
        itertools.product(_GAUCHE, (180.0, 65.0, -65.0), (180.0, 65.0, -65.0), (180.0, 85.0, -85.0))
    ),
    "PRO": [(29.0, -31.5)],
}

ONE_LETTER = {
    "A": "ALA", "R": "ARG", "N": "ASN", "D": "ASP", "C": "CYS", "Q": "GLN", "E": "GLU",
    "G": "GLY", "H": "HIS", "I": "ILE", "L": "LEU", "K": "LYS", "M": "MET", "F": "PHE",
    "P": "PRO", "S": "SER", "T": "THR", "W": "TRP", "Y": "TYR", "V": "VAL",
}  # fmt: skip
