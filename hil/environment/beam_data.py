"""How often whole boards crash under protons: cross-sections that were published, each with its source.

No strike on memory gives such a rate: registers, caches, controllers and the kernel are hit as well. A campaign names
a board and the flux of protons where it flies; the product of both is how often it crashes by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from firmware_bridge.errors import ConfigError

DAY_S = 86_400.0

Triple = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class CrashData:
    """The cross-section at which a kind of board loses its operating system.

    Parameters
    ----------
    part : str
        What was in the beam.
    cross_section_cm2 : (float, float, float)
        Low, central and high, in cm2 a board.
    source : str
        Beam and publication.
    """

    part: str
    cross_section_cm2: Triple
    source: str

    def crashes_per_day(self, protons_per_cm2_s: Triple) -> Triple:
        """Give crashes in a day of work, low, central and high, from such a flux of protons above 20 MeV.

        Cross-section and flux are uncertain each by itself; low meets low and high meets high.

        Examples
        --------
        >>> [round(1 / crashes) for crashes in CRASH_DATA["pi_zero_2w"].crashes_per_day((42.0, 42.0, 42.0))]
        [97, 55, 40]
        """
        low, central, high = (
            DAY_S * area * flux for area, flux in zip(self.cross_section_cm2, protons_per_cm2_s, strict=True)
        )
        return low, central, high

    @property
    def words(self) -> str:
        """Say in a line what was measured, and by whom."""
        low, _, high = self.cross_section_cm2
        return f"{self.part}: {low:.3g} to {high:.3g} cm2, {self.source}"


CRASH_DATA = {
    "pi_zero_2w": CrashData(
        part="Raspberry Pi Zero 2 W",
        cross_section_cm2=(2.84e-9, 5.0e-9, 6.95e-9),
        source="Linux lost, protons of 20 to 58 MeV, memory in the beam (Memon, arXiv:2503.03722)",
    ),
    "imx8m_plus": CrashData(
        part="NXP i.MX 8M Plus",
        cross_section_cm2=(1.98e-10, 4.7e-10, 1.13e-9),
        source="Linux lost, protons of 20 to 58 MeV, LPDDR4 outside the beam (Memon, arXiv:2503.03722)",
    ),
    "xavier_nx": CrashData(
        part="Nvidia Jetson Xavier NX",
        cross_section_cm2=(4.0e-9, 5.2e-9, 6.7e-9),
        source="operating system lost, protons of 125 and 200 MeV (Cannon 2023)",
    ),
}
"""By the name that a campaign file gives. Central where none is published: the geometric mean of the limits."""


def crash_data(name: str) -> CrashData:
    """Give what is known of a board; an unknown name is a ConfigError that lists all names."""
    if name not in CRASH_DATA:
        raise ConfigError(
            f"no beam data of a board {name!r}; choose from {', '.join(CRASH_DATA)}, or give board_crashes_per_day"
        )
    return CRASH_DATA[name]
