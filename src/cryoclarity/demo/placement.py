"""Placing atoms: internal coordinates to Cartesian ones, rigid bodies, screw axes."""

from __future__ import annotations

import numpy as np


def place_atom(
    a: np.ndarray, b: np.ndarray, c: np.ndarray, bond: float, angle: float, dihedral: float
) -> np.ndarray:
    """Return d with |cd| = bond, angle bcd and dihedral abcd (natural extension reference frame).

    Parameters
    ----------
    a, b, c : (3,) or (m, 3) float64
        Reference atoms, angstrom.
    bond : float
        Angstrom.
    angle, dihedral : float
        Degrees; the dihedral follows IUPAC (clockwise positive looking from b to c).

    Notes
    -----
    Parsons et al., J. Comput. Chem. 26, 1063 (2005).
    """
    theta, phi = np.radians(angle), np.radians(dihedral)
    axis = _unit(c - b)
    normal = _unit(np.cross(b - a, axis))
    local = bond * np.array(
        [-np.cos(theta), np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi)]
    )
    return c + local[0] * axis + local[1] * np.cross(normal, axis) + local[2] * normal


def dihedral_angle(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Return the dihedral abcd in degrees, -180..180; arrays (..., 3) are taken elementwise."""
    axis = _unit(c - b)
    v = (a - b) - np.sum((a - b) * axis, axis=-1, keepdims=True) * axis
    w = (d - c) - np.sum((d - c) * axis, axis=-1, keepdims=True) * axis
    x = np.sum(v * w, axis=-1)
    y = np.sum(np.cross(axis, v) * w, axis=-1)
    return np.degrees(np.arctan2(y, x))


def rotation_about(axis: str | np.ndarray, degrees: float) -> np.ndarray:
    """Return the (3, 3) matrix of a right-handed rotation about 'x', 'y', 'z' or a vector."""
    vector = np.eye(3)["xyz".index(axis)] if isinstance(axis, str) else _unit(np.asarray(axis))
    angle = np.radians(degrees)
    cross = np.cross(np.eye(3), vector)
    return np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * (cross @ cross)


def superpose(mobile: np.ndarray, fixed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return rotation R and shift t that bring mobile (n, 3) onto fixed: ``mobile @ R.T + t``.

    Notes
    -----
    Kabsch, Acta Cryst. A34, 827 (1978); reflections are excluded.
    """
    centre_m, centre_f = mobile.mean(axis=0), fixed.mean(axis=0)
    u, _, vt = np.linalg.svd((mobile - centre_m).T @ (fixed - centre_f))
    sign = np.sign(np.linalg.det(u @ vt))
    rotation = (u @ np.diag([1.0, 1.0, sign]) @ vt).T
    return rotation, centre_f - rotation @ centre_m


def screw_axis(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Return direction (3,), a point (3,) and angle (degrees) of the screw from first to second.

    The direction is chosen so that the rise along it is positive; the angle then tells the
    hand: positive is right-handed.
    """
    rotation, shift = superpose(first, second)
    direction = np.array(
        [
            rotation[2, 1] - rotation[1, 2],
            rotation[0, 2] - rotation[2, 0],
            rotation[1, 0] - rotation[0, 1],
        ]
    )
    if np.linalg.norm(direction) < 1e-3:
        # A half turn has no antisymmetric part: its axis is the eigenvector of eigenvalue 1.
        values, vectors = np.linalg.eigh(0.5 * (rotation + rotation.T))
        direction = vectors[:, int(np.argmax(values))]
    direction = _unit(direction)
    if direction @ shift < 0:
        direction = -direction
    angle = float(np.degrees(np.arctan2(*_sine_cosine(rotation, direction))))
    across = shift - (shift @ direction) * direction
    # The axis is the set of points that the screw only shifts: solve (1 - R) p = across.
    point = np.linalg.lstsq(np.eye(3) - rotation, across, rcond=None)[0]
    return direction, point, angle


def align_axis_to_z(direction: np.ndarray) -> np.ndarray:
    """Return the (3, 3) rotation that turns a unit vector onto +z by the shortest way."""
    z = np.array([0.0, 0.0, 1.0])
    axis = np.cross(direction, z)
    if np.linalg.norm(axis) < 1e-12:
        return np.eye(3) if direction[2] > 0 else rotation_about("x", 180.0)
    return rotation_about(axis, float(np.degrees(np.arccos(np.clip(direction @ z, -1, 1)))))


def _sine_cosine(rotation: np.ndarray, direction: np.ndarray) -> tuple[float, float]:
    probe = np.eye(3)[int(np.argmin(np.abs(direction)))]
    v = _unit(probe - (probe @ direction) * direction)
    turned = rotation @ v
    return float(np.cross(v, turned) @ direction), float(v @ turned)


def _unit(v: np.ndarray) -> np.ndarray:
    return v / np.linalg.norm(v, axis=-1, keepdims=True)
