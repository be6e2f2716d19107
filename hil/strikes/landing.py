"""Where a strike lands in one memory layout: from physical cells to the bits of regions."""

from __future__ import annotations

from dataclasses import replace

from firmware_bridge.messages import Fault, FaultKind
from hil.strikes.fault_model import WORD_BITS, FaultModel
from hil.strikes.fault_space import Cells, FaultSpace
from hil.strikes.hardware_ecc import HARDWARE_ECC, HardwareEcc
from hil.strikes.strike import Strike

_KINDS = {"flip": FaultKind.FLIP, "stuck_at_0": FaultKind.STUCK_AT_0, "stuck_at_1": FaultKind.STUCK_AT_1}


def land(strike: Strike, space: FaultSpace, model: FaultModel) -> tuple[Fault, ...]:
    """Give the faults of one strike in one layout, all distinct: one per struck cell, in physical order.

    Where the memory corrects errors of its own accord, the faults are what it leaves, in the order of regions and
    bits: none, those that it could not correct, and those that it made itself. Its alarm, if it ends the process,
    is the only fault. A cell that is stuck counts as wrong, whatever it should hold, and nothing is miscorrected
    there. Storage of another technology than the shared cells has no such correction. Cells that exist only while a
    step runs are struck in that step, whatever moment was drawn.

    Parameters
    ----------
    strike : Strike
        What nature did.
    space : FaultSpace
        The layout's cells; the strike's own space must be among them (DataError).
    model : FaultModel
        How the memory interleaves its words, and how it corrects them.
    """
    struck = []
    for cell in strike.cells:
        cells, within = space.locate(strike.space, cell)
        struck.append((cells, logical_bit(within, cells.bits, model.interleave)))
    if model.hardware_ecc != "none" and strike.technology == space.technology:
        remaining, alarm = _behind(HARDWARE_ECC[model.hardware_ecc], struck, stuck=strike.kind != "flip")
        if alarm and model.hardware_alarm == "crash":
            return (_fault(strike, "process", 0, FaultKind.INTERRUPT),)
        struck = remaining
    return tuple(
        replace(_fault(strike, cells.region, bit, _KINDS[strike.kind]), step=_moment(strike, cells, bit))
        for cells, bit in struck
    )


def _fault(strike: Strike, region: str, bit: int, kind: FaultKind) -> Fault:
    return Fault(strike=strike.number, region=region, bit=bit, kind=kind, inference=strike.inference, step=strike.step)


def _moment(strike: Strike, cells: Cells, bit: int) -> int:
    """Give when a strike reaches a bit: in the step of its own, where it has one, of the copy that is struck."""
    own = cells.step_of(bit)
    if own is None:
        return strike.step
    moments = len(cells.step_ends) + 1
    return strike.step // moments * moments + own


def _behind(ecc: HardwareEcc, struck: list[tuple[Cells, int]], *, stuck: bool) -> tuple[list[tuple[Cells, int]], bool]:
    """Give the bits that are wrong behind the memory's own correction, and whether it raised an alarm."""
    regions: dict[Cells, set[int]] = {}
    for cells, bit in struck:
        regions.setdefault(cells, set()).add(bit)
    remaining, alarm = [], False
    for cells, wrong in regions.items():
        residue = ecc.decode_region(wrong, cells.bits)
        alarm = alarm or residue.detected
        # What a decoder flips by mistake depends on which stuck cells are wrong at each reading: left out.
        remaining += [(cells, bit) for bit in residue.bits if not stuck or bit in wrong]
    return remaining, alarm


def logical_bit(cell: int, bits: int, interleave: int) -> int:
    """Give the logical bit that a physical cell of a region holds; a bijection of 0 .. bits - 1.

    Groups of ``interleave`` words lie bit by bit beside each other: bit 0 of each word, then bit 1 of each, and
    so on. The words left over at the end form a smaller group; bits that fill no word stay where they are.
    Words are counted from the start of the region, as the codes count them.

    Examples
    --------
    >>> [logical_bit(cell, bits=640, interleave=4) for cell in (0, 1, 2, 3, 4)]
    [0, 64, 128, 192, 1]
    """
    start, words = _group(cell, bits, interleave)
    bit, word = divmod(cell - start, words) if words else (cell - start, 0)
    return start + word * WORD_BITS + bit


def physical_cell(bit: int, bits: int, interleave: int) -> int:
    """Give the physical cell of a region's logical bit: the inverse of :func:`logical_bit`.

    Examples
    --------
    >>> physical_cell(64, bits=640, interleave=4)
    1
    """
    start, words = _group(bit, bits, interleave)
    word, position = divmod(bit - start, WORD_BITS) if words else (0, bit - start)
    return start + position * words + word if words else bit


def _group(index: int, bits: int, interleave: int) -> tuple[int, int]:
    """Give where the group of a cell (or bit: a group holds both alike) starts, and its number of words."""
    group_bits = interleave * WORD_BITS
    start = index // group_bits * group_bits
    words = min(interleave, (bits - start) // WORD_BITS)
    if index - start >= words * WORD_BITS:
        return start + words * WORD_BITS, 0
    return start, words
