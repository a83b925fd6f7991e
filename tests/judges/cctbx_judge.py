"""Runs inside the judges' own environment: cctbx reads and scores files, and prints JSON.

Usage: cctbx_judge.py scores MAP MODEL RESOLUTION | cctbx_judge.py density MAP X,Y,Z ...
"""

import io
import json
import sys
from contextlib import redirect_stdout

import numpy as np
from cctbx.array_family import flex
from cctbx.maptbx.qscore import calc_qscore
from iotbx.data_manager import DataManager
from iotbx.map_model_manager import map_model_manager
from mmtbx.maps import correlation


def scores(map_path, model_path, resolution):
    """Map-model correlations at a resolution, and Q of each heavy atom in the model's order."""
    manager = DataManager()
    pair = map_model_manager(
        map_manager=manager.get_real_map(map_path),
        model=manager.get_model(model_path),
        wrapping=False,
        ignore_symmetry_conflicts=True,
    )
    atoms = pair.model().get_xray_structure()
    atoms.scattering_type_registry(table="electron")
    found = correlation.five_cc(
        map=pair.map_manager().map_data(),
        xray_structure=atoms,
        d_min=float(resolution),
        compute_cc_box=True,
        compute_cc_image=False,
        compute_cc_mask=True,
        compute_cc_volume=True,
        compute_cc_peaks=True,
    ).result
    names = {"CC_box": "cc_box", "CC_mask": "cc_mask", "CC_volume": "cc_volume"}
    names["CC_peaks"] = "cc_peaks"
    q_scores = calc_qscore(pair, shells=list(np.linspace(0.1, 2.0, 20)), n_probes=32)
    model = pair.model()
    keys = [
        ".".join((a.chain_id.strip(), a.resseq.strip(), a.icode.strip(), a.name.strip(), a.altloc))
        for a in (atom.fetch_labels() for atom in model.get_hierarchy().atoms())
    ]
    values = {name: float(getattr(found, key)) for name, key in names.items()}
    return values | {"Q": dict(zip(keys, list(q_scores["qscore_per_atom"]), strict=True))}


def density(map_path, *points):
    """Map values at positions (x, y, z) in angstrom, as cctbx places the map."""
    manager = DataManager().get_real_map(map_path)
    manager.shift_origin()
    sites = flex.vec3_double([tuple(map(float, point.split(","))) for point in points])
    return list(manager.density_at_sites_cart(sites + manager.shift_cart()))


if __name__ == "__main__":
    with redirect_stdout(io.StringIO()):  # cctbx prints notices among the answers
        answer = {"scores": scores, "density": density}[sys.argv[1]](*sys.argv[2:])
    print(json.dumps(answer))
