"""The packets of a run: one for each trial, one for each slice of the thermal loop."""

from __future__ import annotations

from firmware_bridge.telemetry import HOUSEKEEPING, PacketLayout, PlainField
from hil.campaign.outcome import Outcome

TRIAL = PacketLayout(
    apid=0x130,
    name="Trial",
    meaning="How one trial of a campaign ended, and what it took.",
    fields=(
        PlainField(name="protection", kind="u8", meaning="place of the protection in the campaign's list, from 0"),
        PlainField(name="trial", kind="u32", meaning="number of the trial, from 0"),
        PlainField(
            name="outcome", kind="u8", meaning="the worst of its strikes", labels=tuple(kind.value for kind in Outcome)
        ),
        PlainField(name="strikes", kind="u16", meaning="strikes, each in a run of its own"),
        PlainField(name="faults", kind="u16", meaning="cells that they struck"),
        PlainField(name="wrong", kind="u16", meaning="inferences delivered with another output than without strikes"),
        PlainField(name="withheld", kind="u16", meaning="inferences that the node refused to deliver"),
        PlainField(name="corrected_words", kind="u32", meaning="codewords repaired"),
        PlainField(name="detected_words", kind="u32", meaning="codewords found wrong and not repaired"),
        PlainField(name="rollbacks", kind="u16", meaning="checkpoints loaded"),
        PlainField(name="alarms", kind="u16", meaning="checks on the computation that failed"),
        PlainField(name="elapsed", kind="u32", unit="us", meaning="node's time; 0 where the node did not answer"),
        PlainField(name="plant_temperature", kind="f32", unit="degC", meaning="of the emulated plant; NaN if unknown"),
    ),
)

HEAT = PacketLayout(
    apid=0x131,
    name="Heat",
    meaning="One slice of the closed thermal loop.",
    fields=(
        PlainField(name="plant_time", kind="f32", unit="s", meaning="time of the emulated plant"),
        PlainField(name="temperature", kind="f32", unit="degC", meaning="of the plant"),
        PlainField(name="ambient", kind="f32", unit="degC", meaning="around it"),
        PlainField(name="clock_ratio", kind="f32", meaning="share of the full clock that is allowed"),
        PlainField(name="throttled", kind="u32", meaning="bits of get_throttled"),
        PlainField(name="load", kind="f32", meaning="share of the allowed cycles that was used"),
        PlainField(name="inference_rate", kind="f32", unit="1/s", meaning="inferences a second"),
        PlainField(name="board_temperature", kind="f32", unit="degC", meaning="of the board's sensor; NaN without one"),
    ),
)

LAYOUTS = (HOUSEKEEPING, TRIAL, HEAT)
"""All packets that ground software may meet: the node's own, and those of a run."""
