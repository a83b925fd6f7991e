"""The entries of the demo archive: what each molecule is and how its maps are made."""

from __future__ import annotations

from dataclasses import dataclass

from cryoclarity.demo.maps import MapRecipe


@dataclass(frozen=True)
class DemoEntry:
    """One entry: fold, maps, and the oddity of its map file.

    Attributes
    ----------
    style : str
        Header style of :func:`cryoclarity.demo.map_bytes.encode_map`.
    start : (x, y, z)
        First voxel in voxels.
    damaged : bool
        The primary map holds a NaN, as a file that went wrong at deposition.
    """

    fold: str
    recipe: MapRecipe
    style: str = "plain"
    start: tuple[int, int, int] = (0, 0, 0)
    damaged: bool = False


ENTRIES: dict[str, DemoEntry] = {
    "EMD-90001": DemoEntry("seven_helices", MapRecipe(72, 1.20, 2.9, 2.2, 80.0, 0.14, 45.0)),
    "EMD-90002": DemoEntry(
        "sheet_and_helices",
        MapRecipe(72, 1.05, 2.5, 2.2, 95.0, 0.12, 50.0),
        "origin",
        (-31, 12, 7),
    ),
    "EMD-90003": DemoEntry("four_helices", MapRecipe(72, 0.74, 2.2, 1.8, 50.0, 0.085, 25.0)),
    "EMD-90004": DemoEntry(
        "rna_duplexes", MapRecipe(72, 1.30, 3.2, 2.4, 140.0, 0.14, 75.0), "nstart", (-36, -36, -36)
    ),
    "EMD-90005": DemoEntry("large_sandwich", MapRecipe(64, 1.50, 4.6, 3.0, 185.0, 0.20, 80.0)),
    "EMD-90006": DemoEntry(
        "small_sandwich", MapRecipe(72, 0.75, 2.3, 2.0, 80.0, 0.09, 40.0), "axes321", (5, -20, 40)
    ),
    "EMD-90007": DemoEntry("dna_and_helices", MapRecipe(80, 1.20, 3.1, 2.3, 115.0, 0.13, 60.0)),
    "EMD-90008": DemoEntry(
        "small_dna_and_helices", MapRecipe(80, 0.74, 2.2, 2.0, 60.0, 0.09, 30.0)
    ),
    "EMD-90009": DemoEntry("one_helix", MapRecipe(40, 1.10, 3.0, 1.0, 60.0, 0.15), damaged=True),
    "EMD-90010": DemoEntry("five_helices", MapRecipe(80, 1.10, 2.7, 2.2, 120.0, 0.13, 65.0)),
}
