"""Real maps with odd frames: an identity network gives them back, on the same header words."""

from __future__ import annotations

import numpy as np
import pytest

from cryoclarity.io.maps import read_map, write_map
from cryoclarity.predict.enhance import PredictSettings, enhance
from tests.predict.tiny import Identity, model_of

ENTRIES = ("5623", "6374", "6272", "20353", "30342", "3197")


@pytest.mark.parametrize("entry", ENTRIES)
def test_real_maps_come_back_on_their_frame(entry, shared, tmp_path):
    folder = shared / "archive" / "emdb" / "structures" / f"EMD-{entry}" / "map"
    volume = read_map(folder / f"emd_{entry}.map.gz")
    found = enhance(volume, model_of(Identity(), box=48), PredictSettings(device="cpu"))
    positive = np.clip(volume.density, 0, None)
    assert np.corrcoef(found.density.ravel(), positive.ravel())[0, 1] > 0.98
    write_map(tmp_path / "out.mrc", volume.with_density(found.density))
    again = read_map(tmp_path / "out.mrc")
    assert again.grid == volume.grid
    for words in ("start_index", "origin_words", "intervals", "cell"):
        assert getattr(again.header, words) == getattr(volume.header, words)
