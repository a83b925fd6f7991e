#!/usr/bin/env python
"""Does the default stride with Gaussian weights lose anything against the published way?

For every map: half a box with Gaussian weights (the default) beside a quarter of a box with equal
weights (published: 24 and 12 of 48), by the same trained weights. Prints a table row each with
boxes, CC_mask, mean FSC and Q against the model, and a seam figure: the mean step across the
planes where boxes begin or end, over the mean step elsewhere; 1 means that no seam shows.

Example: ``benchmarks/stride.py --weights results/train map.map.gz,model.cif.gz,3.2 ...``
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from cryoclarity.boxes.tiling import axis_starts
from cryoclarity.evaluate.metrics import map_metrics
from cryoclarity.evaluate.reference import ModelReference
from cryoclarity.io.maps import read_map
from cryoclarity.io.model import read_atoms
from cryoclarity.predict.common import PredictSettings, make_runner, make_tiling
from cryoclarity.predict.enhance import enhance, on_network, run_boxes
from cryoclarity.predict.model import load_model, weights_path

COLUMNS = ("map", "way", "boxes", "CC_mask", "mean FSC", "Q", "seam", "CPU s")


def seam(prediction, box, stride):
    """Return the step across faces of boxes over the step elsewhere, mean of three axes."""
    ratios = []
    for axis in range(3):
        size = prediction.shape[axis]
        starts = axis_starts(size, box, stride)
        faces = {s for s in starts if s > 0} | {s + box for s in starts if s + box < size}
        steps = np.abs(np.diff(prediction, axis=axis)).mean(
            axis=tuple(a for a in range(3) if a != axis)
        )
        at_face = [steps[f - 1] for f in faces]
        # Beside each face, so that the molecule's shape plays no part.
        beside = [steps[k] for f in faces for k in (f - 3, f + 1) if 0 <= k < len(steps)]
        if at_face:
            ratios.append(statistics.fmean(at_face) / statistics.fmean(beside))
    return statistics.fmean(ratios) if ratios else float("nan")


def rows(path, model_path, resolution, weights):
    """Yield the two rows of a map, and how far the results lie apart."""
    volume = read_map(path)
    model = load_model(weights_path(weights, "enhance", volume.grid), "enhance")
    reference = ModelReference.of_model(read_atoms(model_path), volume.grid, resolution)
    results = []
    for way, stride in (("gaussian", model.box // 2), ("uniform", model.box // 4)):
        settings = PredictSettings(device="cpu", stride=stride, blend=way)
        began = time.process_time()
        found = enhance(volume, model, settings)
        seconds = time.process_time() - began
        work = on_network(volume.density, volume.grid, model, None)
        runner = make_runner(model, settings, volume.grid, work.grid)
        inner, _ = run_boxes(runner, work.density, work.scale, make_tiling(model, settings))
        values = map_metrics(found.density, reference).values
        results.append(found.density)
        yield (
            Path(path).name.split(".")[0],
            f"{way}, stride {stride} of {model.box}",
            found.facts["boxes_predicted"],
            f"{values['CC_mask']:.4f}",
            f"{values['mean_fsc_model']:.4f}",
            f"{values['Q_mean']:.4f}",
            f"{seam(inner, model.box, stride):.3f}",
            f"{seconds:.1f}",
        )
    inside = reference.inside
    apart = np.corrcoef(results[0][inside], results[1][inside])[0, 1]
    yield ("", f"correlation of both inside the molecule: {apart:.5f}", *[""] * 6)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, default=Path("results/train"))
    parser.add_argument("cases", nargs="+", metavar="MAP,MODEL,RESOLUTION")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("| " + " | ".join(COLUMNS) + " |\n|" + "---|" * len(COLUMNS))
    for case in arguments.cases:
        path, model, resolution = case.split(",")
        for row in rows(path, model, float(resolution), arguments.weights):
            print("| " + " | ".join(str(value) for value in row) + " |", flush=True)


if __name__ == "__main__":
    main()
