"""Maps that never were measured: half maps, map, target and true local resolution from atoms.

Two recipes, both deterministic in ``seed`` (an integer or a sequence of integers; use
:func:`cryoclarity.degrade.placement.seed_of` for (seed, model id, draw)):

``degrade.resolution.simulate_map(atoms, seed, *, ranges=ResolutionRanges(), box=RESOLUTION_BOX,
arrays=None) -> SimulatedMap``
    Maps whose resolution varies from place to place, with the truth. Fields (z, y, x) float32:
    ``map``, ``half_map_1``, ``half_map_2`` (with noise in the solvent), ``masked_map`` (the map
    times ``soft_mask``), ``truth`` (angstrom, 0 outside ``mask``), ``mask`` (bool); further
    ``voxel_size`` (float, angstrom), ``drawn`` (what the ranges gave) and ``atoms`` (placed).
    ``ResolutionRanges.wide()`` (and ``ImprovementRanges.wide()``) go beyond what was measured.

``degrade.improvement.simulate_pair(atoms, seed, *, resolution=None, ranges=ImprovementRanges(),
box=IMPROVEMENT_BOX, arrays=None, halves=False) -> SimulatedPair``
    A map as depositions are, and its target. Fields (z, y, x) float32: ``map`` (its own scale),
    ``input`` (the map over its 99.999th percentile, clipped to 0..1), ``target`` (0..1),
    ``mask`` (bool: the envelope within the zone that the map was cut to), ``local_resolution``
    (angstrom, 0 outside the envelope), ``half_map_1``, ``half_map_2`` (None unless ``halves``),
    ``voxel_size``, ``drawn``, ``atoms``.

``atoms`` is an :class:`cryoclarity.io.atoms.Atoms` (as read) or the :class:`Placed` of
:func:`cryoclarity.degrade.placement.place`, which does the selection, the crop, the rotation and
the box once. ``arrays`` chooses where the work is done: None is numpy;
``degrade.arrays_torch.TorchArrays(device)`` is a torch device, to which only the atoms travel and
on which the returned arrays (tensors) stay.
"""
