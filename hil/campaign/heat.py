"""The thermal part of a campaign: the loop of heat is closed over the session, and every slice is kept."""

from __future__ import annotations

from firmware_bridge.errors import ConfigError
from hil.campaign.calibration import CALIBRATION_DEADLINE_MS
from hil.campaign.configuration import HeatSection
from hil.campaign.experiment import Experiment, most_inferences
from hil.campaign.record import HeatRow
from hil.campaign.store import Store
from hil.campaign.task_runner import LOST, MAX_LOST_LINES
from hil.environment.thermal_run import INFERENCES_PER_RUN, ThermalRow, ThermalSchedule, run_thermal
from hil.progress import ProgressEvent, ProgressSink
from hil.targets.session import Session
from node.governor import ROOM_C
from node.uart import MINI_UART


def check_uart(session: Session, heat: HeatSection) -> None:
    """Raise ConfigError where heat would garble the line that the node is on, unless that is allowed."""
    if session.facts().get("uart") == MINI_UART and not heat.allow_mini_uart:
        raise ConfigError(
            "[heat]: the node serves the mini UART, whose baud rate follows the core clock that throttling changes: "
            "give the header the PL011 (`flightnode doctor` on the board says how), or set allow_mini_uart = true"
        )


def run_heat(
    session: Session, experiment: Experiment, schedule: ThermalSchedule, store: Store, progress: ProgressSink
) -> None:
    """Keep the node busy under its first real protection while the plant warms and cools.

    A node that is lost meanwhile is got back, and the loop begins anew: cut short it has no meaning.
    """
    lost_lines = 0
    while True:
        try:
            rows = _heated(session, experiment, schedule, progress)
            break
        except LOST as error:
            lost_lines += 1
            if lost_lines > MAX_LOST_LINES:
                raise
            progress(ProgressEvent(stage="heat", done=0, total=0, note=f"again: {error}"))
            session.restart()
    store.append(*rows)  # all at once


def _heated(
    session: Session, experiment: Experiment, schedule: ThermalSchedule, progress: ProgressSink
) -> list[HeatRow]:
    protected = next((task for task in experiment.tasks if not task.control), experiment.tasks[0])
    session.configure(protected.protection, CALIBRATION_DEADLINE_MS)

    def on_row(row: ThermalRow) -> None:
        done = min(row.wall_s, schedule.duration_s)
        note = f"{row.temperature_c:.1f} C, {row.clock_ratio:.0%} clock"
        progress(ProgressEvent(stage="heat", done=round(10 * done), total=round(10 * schedule.duration_s), note=note))

    actuator = session.telemetry().throttle_actuator
    workload = experiment.workload
    size = min(INFERENCES_PER_RUN, most_inferences(workload))
    rows = run_thermal(session, schedule, inputs=workload.n_inputs, inferences_per_run=size, on_row=on_row)
    session.set_temperature(ROOM_C)
    return [_heat_row(row, actuator, schedule) for row in rows]


def _heat_row(row: ThermalRow, actuator: str, schedule: ThermalSchedule) -> HeatRow:
    return HeatRow(
        wall_s=row.wall_s,
        plant_s=row.plant_s,
        temperature_c=row.temperature_c,
        ambient_c=row.ambient_c,
        clock_ratio=row.clock_ratio,
        throttled=row.throttled,
        load=row.load,
        inferences_per_s=row.inferences_per_s,
        board_c=row.board_c,
        actuator=actuator,
        acceleration=schedule.acceleration,
        sent_c=row.sent_c,
        sensor_fault=schedule.sensor_fault if _is_faulty(row, schedule) else "",
    )


def _is_faulty(row: ThermalRow, schedule: ThermalSchedule) -> bool:
    return schedule.sensor_fault != "none" and row.wall_s >= schedule.sensor_fault_s
