"""Sixty thousand entries with a million memberships, in a process of their own."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

CODE = """
import json, random, resource, time
from cryoclarity.selection.clusters import Entity
from cryoclarity.selection.filters import screen
from cryoclarity.selection.funnel import funnel
from cryoclarity.selection.graph import build_graph
from cryoclarity.selection.proof import prove
from cryoclarity.selection.rivals import duplicate_data
from cryoclarity.selection.settings import filter_settings, split_settings
from cryoclarity.selection.splits import assign
from tests.selection.makers import good_entry, relations

rng = random.Random(7)
pool, clusters, names = [], {}, [Entity(str(n), 100.0) for n in range(400_000)]
for number in range(1000, 61000):
    pdb_id = f"{number:x}"
    near = [f"EMD-{max(1000, number + rng.randint(-5, 5))}" for _ in range(rng.randint(1, 8))]
    related = tuple(near) if rng.random() < 0.25 else ()
    pool.append(good_entry(number, pdb_ids=(pdb_id,), related=related))
    family = int(20 * rng.paretovariate(0.9))
    chains = random.Random(family)
    own = [names[chains.randrange(400_000)] for _ in range(chains.randint(3, 27))]
    own += rng.sample(names, 3)
    if rng.random() < 0.05:
        own.append(names[0])
    clusters[pdb_id] = tuple(own)
count = sum(map(len, clusters.values()))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
settings, results = filter_settings(), []
start = time.process_time()
kept, found = screen(pool, settings, "document")
found += duplicate_data(kept, settings["F22_duplicate_data"])
table = funnel([facts.emdb_id for facts in pool], found, settings)
made = relations(clusters, hub_limit=%(limit)d, seq=%(mode)r)
graph = build_graph(kept, made)
result = assign(graph, split_settings())
prove(kept, made, result.split)
seconds = time.process_time() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
rng.shuffle(kept)
same = assign(build_graph(kept, made), split_settings()) == result
print(json.dumps({
    "memberships": count, "seconds": seconds, "mb_before": before / 1e3, "mb": peak / 1e3,
    "components": len(graph.components), "counts": result.counts, "same": same,
    "largest": len(result.largest.members),
}))
"""


@pytest.mark.scale
@pytest.mark.parametrize("mode", ["any", "major"])
def test_sixty_thousand_entries(root, mode):
    code = CODE % {"limit": 40, "mode": mode}
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    found = json.loads(run.stdout)
    print(found)
    assert found["memberships"] > 900_000
    assert found["seconds"] < 15
    assert found["mb"] < 500
    assert found["same"]
    assert sum(found["counts"].values()) == 60_000
