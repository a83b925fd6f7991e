"""How large, small or plain a file may be: one object for all gates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cryoclarity.io.maps import MapLimits
from cryoclarity.io.model_text import MAX_ATOMS, MAX_MODEL_BYTES

MIN_DISTINCT = 3


@dataclass(frozen=True)
class Limits:
    """Limits of the inspection.

    Attributes
    ----------
    maps : MapLimits
    max_atoms : int
        Of the first model.
    max_model_bytes : int
        Text of a model, unpacked.
    """

    maps: MapLimits = field(default_factory=MapLimits)
    max_atoms: int = MAX_ATOMS
    max_model_bytes: int = MAX_MODEL_BYTES

    @classmethod
    def of_settings(cls, settings: Mapping[str, object]) -> Limits:
        """Return the limits that settings name; the others keep their defaults."""
        usual = cls()

        def value(name: str, default: int) -> int:
            return int(settings.get(name, default))

        return cls(
            maps=MapLimits(
                max_voxels=value("max_voxels", usual.maps.max_voxels),
                min_axis=value("min_axis", usual.maps.min_axis),
                min_distinct=value("min_distinct", MIN_DISTINCT) if settings.get("sparse") else 0,
            ),
            max_atoms=value("max_atoms", usual.max_atoms),
            max_model_bytes=value("max_model_bytes", usual.max_model_bytes),
        )
