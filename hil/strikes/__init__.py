"""Damage: what nature strikes, and where it lands in one memory layout.

A :class:`Strike` belongs to nature and is the same for every protection; :func:`land` turns it into the faults
of one layout. All random numbers are counter-based: a trial can be drawn anywhere, in any order.
"""

from hil.strikes.fault_model import PRESETS, FaultModel, preset
from hil.strikes.fault_space import DEFAULT_STRIKE_REGIONS, SHARED, Cells, FaultSpace
from hil.strikes.hardware_ecc import HARDWARE_ECC, HardwareEcc
from hil.strikes.landing import land, logical_bit, physical_cell
from hil.strikes.streams import Stream
from hil.strikes.strike import Strike, Window, sample_strikes, strike_key

__all__ = [
    "DEFAULT_STRIKE_REGIONS",
    "HARDWARE_ECC",
    "PRESETS",
    "SHARED",
    "Cells",
    "FaultModel",
    "FaultSpace",
    "HardwareEcc",
    "Stream",
    "Strike",
    "Window",
    "land",
    "logical_bit",
    "physical_cell",
    "preset",
    "sample_strikes",
    "strike_key",
]
