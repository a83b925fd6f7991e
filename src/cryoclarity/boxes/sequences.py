"""Sequences of a model's chains, and when two of them are related.

Only residues that are in the model count. A break in the numbering is kept as '-', so that no
word spans a gap.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cryoclarity.io.atoms import Atoms

GAP, UNKNOWN = "-", "X"
WORD = {"protein": 12, "nucleic": 50}
# A word of fewer different letters is a tag or a poly-alanine trace, no kinship.
LEAST_LETTERS = {"protein": 5, "nucleic": 3}

LETTERS = "ARNDCQEGHILKMFPSTWYV"
NOTHING = len(LETTERS)  # gap, unknown residue or padding in an encoded sequence
# Lower triangle of BLOSUM62 (Henikoff & Henikoff, PNAS 89, 10915, 1992) in the order of LETTERS.
BLOSUM62 = """
4
-1 5
-2 0 6
-2 -2 1 6
0 -3 -3 -3 9
-1 1 0 0 -3 5
-1 0 0 2 -4 2 5
0 -2 0 -1 -3 -2 -2 6
-2 0 1 -1 -3 0 0 -2 8
-1 -3 -3 -3 -1 -3 -3 -4 -3 4
-1 -2 -3 -4 -1 -2 -3 -4 -3 2 4
-1 2 0 -1 -3 1 1 -2 -1 -3 -2 5
-1 -1 -2 -3 -1 0 -2 -3 -2 1 2 -1 5
-2 -3 -3 -3 -2 -3 -3 -3 -1 0 0 -3 0 6
-1 -2 -2 -1 -3 -1 -1 -2 -2 -3 -3 -1 -2 -4 7
1 -1 1 0 -1 0 0 0 -1 -2 -2 0 -1 -2 -1 4
0 -1 0 -1 -1 -1 -1 -2 -2 -1 -1 -1 -1 -2 -1 1 5
-3 -3 -4 -4 -2 -2 -3 -2 -2 -3 -2 -3 -1 1 -4 -3 -2 11
-2 -2 -2 -3 -2 -1 -2 -3 2 -1 -1 -2 -1 3 -3 -2 -2 2 7
0 -3 -3 -3 -1 -2 -2 -3 -3 3 1 -2 1 -1 -2 -2 0 -3 -1 4
"""
GAP_OPEN, GAP_EXTEND = 11, 1
# Karlin-Altschul constants of gapped BLOSUM62 11/1 (Altschul et al., NAR 25, 3389, 1997).
LAMBDA, KAPPA, CHANCE = 0.267, 0.041, 1e-3
LEAST_ALIGNED = 40
LEAST_IDENTITY = 0.30
LEAST_COVERAGE = 0.5
REVERSED_FACTOR = 1.5
ALIGN_TOGETHER = 64

PROTEIN_LETTER = dict(
    zip(
        "ALA ARG ASN ASP CYS GLN GLU GLY HIS ILE LEU LYS MET PHE PRO SER THR TRP TYR VAL".split(),
        LETTERS,
        strict=True,
    )
) | {
    name: letter
    for letter, names in {
        "C": "CSO CME CSD OCS CSX CYX SEC",
        "E": "CGU",
        "H": "HIC NEP HIP HID HIE",
        "K": "KCX LLP MLY MLZ M3L ALY PYL",
        "M": "MSE FME",
        "P": "HYP",
        "Q": "PCA",
        "S": "SEP SAC",
        "T": "TPO",
        "Y": "PTR TYS",
    }.items()
    for name in names.split()
}
# Thymine is written as uracil: the two pair alike.
NUCLEIC_LETTER = {
    name: letter
    for letter, names in {
        "A": "A DA A2M 1MA 6MZ MA6 MIA",
        "C": "C DC 5MC OMC 4OC",
        "G": "G DG OMG 1MG 2MG 7MG M2G G7M YYG",
        "U": "U T DU DT PSU 5MU OMU H2U 4SU UR3 B8N",
    }.items()
    for name in names.split()
}
TABLES = {"protein": PROTEIN_LETTER, "nucleic": NUCLEIC_LETTER}


@dataclass(frozen=True, order=True)
class ChainSequence:
    """One chain: 'protein' or 'nucleic', and its letters with '-' for breaks."""

    kind: str
    letters: str

    @property
    def residues(self) -> int:
        """Number of residues."""
        return len(self.letters) - self.letters.count(GAP)


def chain_sequences(atoms: Atoms) -> list[ChainSequence]:
    """Return the different sequences of a model, sorted.

    A chain that holds protein and nucleic residues gives one sequence of each kind.
    """
    found = set()
    first = np.unique(atoms.residue_index, return_index=True)[1]
    for kind, table in TABLES.items():
        chains: dict[str, list[tuple[int, str]]] = {}
        for i in first[atoms.kind[first] == kind].tolist():
            letter = table.get(str(atoms.residue_name[i]), UNKNOWN)
            number = int(atoms.residue_number[i])
            chains.setdefault(str(atoms.chain[i]), []).append((number, letter))
        found |= {ChainSequence(kind, _joined(chain)) for chain in chains.values()}
    return sorted(found)


def _joined(chain: list[tuple[int, str]]) -> str:
    letters, before = [], None
    for number, letter in chain:
        if before is not None and number - before not in (0, 1):
            letters.append(GAP)
        letters.append(letter)
        before = number
    return "".join(letters)


def telling(letters: str, kind: str) -> bool:
    """Whether a stretch has enough different letters, all known, to mean anything."""
    known = set(letters) - {GAP, UNKNOWN}
    return UNKNOWN not in letters and len(known) >= LEAST_LETTERS[kind]


def long_words(sequence: ChainSequence) -> Iterator[str]:
    """Yield the telling words of 12 residues or 50 nucleotides."""
    size = WORD[sequence.kind]
    for start in range(len(sequence.letters) - size + 1):
        word = sequence.letters[start : start + size]
        if GAP not in word and telling(word, sequence.kind):
            yield word


def score_table() -> np.ndarray:
    """Return BLOSUM62 with a last row and column for what must never be aligned, float32."""
    table = np.full((NOTHING + 1, NOTHING + 1), -1000, dtype=np.float32)
    for i, line in enumerate(BLOSUM62.split("\n")[1:-1]):
        for j, score in enumerate(line.split()):
            table[i, j] = table[j, i] = float(score)
    return table


SCORES = score_table()


def encode(letters: str) -> np.ndarray:
    """Return the index of each letter in LETTERS, `NOTHING` for all others."""
    return np.array([LETTERS.find(c) % (NOTHING + 1) for c in letters], dtype=np.int64)


def local_scores(query: np.ndarray, others: Sequence[np.ndarray]) -> np.ndarray:
    """Return the best local alignment score of one encoded sequence with each of several.

    Smith & Waterman (J. Mol. Biol. 147, 195, 1981) with affine gaps (11 for the first, 1 for each
    further residue), one row at a time for all sequences together.
    """
    width = max(len(other) for other in others)
    padded = np.full((len(others), width), NOTHING)
    for row, other in zip(padded, others, strict=True):
        row[: len(other)] = other
    ramp = GAP_EXTEND * np.arange(width, dtype=np.float32)
    best = np.zeros(len(others), dtype=np.float32)
    score = np.zeros((len(others), width + 1), dtype=np.float32)
    down = np.full((len(others), width), -np.inf, dtype=np.float32)
    for letter in query:
        down = np.maximum(down - GAP_EXTEND, score[:, 1:] - GAP_OPEN)
        row = np.maximum(score[:, :-1] + SCORES[letter][padded], down)
        np.maximum(row, 0, out=row)
        # A gap along the row: the best earlier cell, less opening, less its distance.
        across = np.maximum.accumulate(row + ramp, axis=1)[:, :-1] - ramp[:-1] - GAP_OPEN
        np.maximum(row[:, 1:], across, out=row[:, 1:])
        score[:, 1:] = row
        np.maximum(best, row.max(axis=1), out=best)
    return best


def identity(a: np.ndarray, b: np.ndarray) -> tuple[int, int]:
    """Return (identical pairs, aligned pairs) of the best local alignment of two sequences."""
    score, down, across = _matrices(a, b)
    i, j = (int(k) for k in np.unravel_index(score.argmax(), score.shape))
    same = aligned = 0
    while score[i, j] > 0:
        if score[i, j] == down[i, j]:
            while down[i, j] != score[i - 1, j] - GAP_OPEN:
                i -= 1
            i -= 1
        elif score[i, j] == across[i, j]:
            while across[i, j] != score[i, j - 1] - GAP_OPEN:
                j -= 1
            j -= 1
        else:
            i, j = i - 1, j - 1
            aligned += 1
            same += int(a[i] == b[j])
    return same, aligned


def _matrices(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores of the best alignments that end anywhere, in a gap of b, in a gap of a."""
    shape = (len(a) + 1, len(b) + 1)
    score = np.zeros(shape, dtype=np.float32)
    down = np.full(shape, -np.inf, dtype=np.float32)
    across = np.full(shape, -np.inf, dtype=np.float32)
    ramp = GAP_EXTEND * np.arange(len(b), dtype=np.float32)
    for i, letter in enumerate(a, start=1):
        down[i] = np.maximum(down[i - 1] - GAP_EXTEND, score[i - 1] - GAP_OPEN)
        row = np.maximum(score[i - 1, :-1] + SCORES[letter][b], down[i, 1:])
        np.maximum(row, 0, out=row)
        reach = np.maximum.accumulate(row + ramp)[:-1] - ramp[:-1] - GAP_OPEN
        across[i, 2:] = reach
        score[i, 1:] = row
        np.maximum(score[i, 2:], reach, out=score[i, 2:])
    return score, down, across


def least_identity(aligned: int) -> float:
    """Return the identity above which an alignment of this length means kinship.

    30 %, and for short alignments the curve of B. Rost (Protein Eng. 12, 85, 1999, eq. 2):
    480 L^(-0.32 (1 + exp(-L / 1000))) per cent.
    """
    curve = 4.80 * aligned ** (-0.32 * (1.0 + math.exp(-aligned / 1000.0)))
    return max(LEAST_IDENTITY, curve)


def related_by_identity(
    query: np.ndarray, others: Sequence[np.ndarray]
) -> Iterator[tuple[int, float]]:
    """Yield (number, identity) of the protein sequences that are kin of one sequence.

    Kin means: a local alignment better than chance (10^-3 per pair) and 1.5 times better than
    with the sequence reversed (composition and repeats alone score as well backwards), at least
    40 pairs and half of the shorter chain long, and as identical as :func:`least_identity` asks.
    """
    for first in range(0, len(others), ALIGN_TOGETHER):
        block = others[first : first + ALIGN_TOGETHER]
        lengths = np.array([len(other) for other in block])
        chance = np.log(KAPPA * len(query) * lengths / CHANCE) / LAMBDA
        scores = local_scores(query, block)
        for k in np.flatnonzero(scores >= chance).tolist():
            if scores[k] < REVERSED_FACTOR * local_scores(query[::-1], [block[k]])[0]:
                continue
            same, aligned = identity(query, block[k])
            shorter = min(len(query), len(block[k]))
            if aligned < max(LEAST_ALIGNED, LEAST_COVERAGE * shorter):
                continue
            if same / aligned >= least_identity(aligned):
                yield first + k, same / aligned
