"""What is known of an entry before and after its files are fetched."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EntryFacts:
    """One EMDB entry, merged from its search row and, when fetched, its entry document.

    An empty string, an empty tuple or None means "not said": a filter that needs the datum lets
    the entry pass unless its own rule says otherwise.

    Attributes
    ----------
    emdb_id : str
        ``EMD-N``.
    status : str
        Current status as the archive writes it (``REL``, ``OBS`` ...).
    method : str
        Structure determination method (``singleParticle`` ...).
    resolution : float or None
        Stated resolution in angstrom.
    resolution_method : str
        Criterion of the stated resolution.
    title : str
        Title of the entry.
    release_date : str
        Date of map release, ISO 8601 (``2023-06-14``).
    pdb_ids : tuple of str
        Fitted models, lower case.
    overlaps : tuple of (str, str)
        PDB id and the archive's word for how the model lies in the map (``FULLOVERLAP`` ...).
    half_maps, masks, additional_maps : tuple of str
        File names.
    contour : float or None
        Recommended contour level, in the map's own units.
    size : tuple of int or None
        Voxels along x, y, z.
    voxel_size : tuple of float or None
        Angstrom along x, y, z.
    size_kbytes : float or None
        Size of the unpacked map file in kB.
    statistics : tuple of float or None
        Minimum, maximum, mean and standard deviation of the primary map.
    related : tuple of str
        Related EMDB entries, without the entry itself.
    related_words : tuple of str
        Words of the relations ("focused", "consensus", other EM volume ...).
    details : str
        Free text of annotation and reconstruction.
    software : tuple of str
        Software of the final reconstruction.
    successors : tuple of str
        Entries that replaced this one.
    protein_residues, nucleic_residues : float or None
        Rough numbers of residues: mass / 110 Da, mass / 325 Da, or sequence length times copies.
    copies : int
        Copies of the most repeated entity.
    nucleic_sequences : tuple of str
        Sequences of the nucleic entities, one-letter code.
    uniprot : tuple of str
        UniProt accessions.
    doi : str
        Digital object identifier of the primary citation.
    model_resolution : float or None
        Resolution stated by the model file, in angstrom.
    mean_q : float or None
        Mean Q-score of the archive's validation.
    has_document : bool
        Whether the entry document was read, so that its data can be relied on.
    """

    emdb_id: str
    status: str = ""
    method: str = ""
    resolution: float | None = None
    resolution_method: str = ""
    title: str = ""
    release_date: str = ""
    pdb_ids: tuple[str, ...] = ()
    overlaps: tuple[tuple[str, str], ...] = ()
    half_maps: tuple[str, ...] = ()
    masks: tuple[str, ...] = ()
    additional_maps: tuple[str, ...] = ()
    contour: float | None = None
    size: tuple[int, int, int] | None = None
    voxel_size: tuple[float, float, float] | None = None
    size_kbytes: float | None = None
    statistics: tuple[float, ...] | None = None
    related: tuple[str, ...] = ()
    related_words: tuple[str, ...] = ()
    details: str = ""
    software: tuple[str, ...] = ()
    successors: tuple[str, ...] = ()
    protein_residues: float | None = None
    nucleic_residues: float | None = None
    copies: int = 1
    nucleic_sequences: tuple[str, ...] = ()
    uniprot: tuple[str, ...] = ()
    doi: str = ""
    model_resolution: float | None = None
    mean_q: float | None = None
    has_document: bool = False


def accession_number(emdb_id: str) -> int:
    """Return the number of an EMDB id (``EMD-3488`` -> 3488).

    Raises
    ------
    ValueError
        If the text has no number behind its dash.
    """
    return int(emdb_id.rsplit("-", 1)[-1])


def plain_pdb_id(pdb_id: str) -> str:
    """Return one spelling of a PDB id: lower case, the short form where there is one.

    ``pdb_00001abc`` and ``1ABC`` are the same entry.
    """
    text = pdb_id.lower()
    return text[8:] if text.startswith("pdb_0000") and len(text) == 12 else text
