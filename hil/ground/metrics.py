"""A run, finished or under way, as Prometheus text (exposition format 0.0.4)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from hil.campaign.outcome import Outcome
from hil.campaign.record import AttemptRow, Header, HeatRow, LinkRow, Row, TrialRow
from hil.campaign.store import read_header, read_rows

_LINK_COUNTERS = {
    "bytes_sent": "Bytes put on the line.",
    "bytes_received": "Bytes taken from the line.",
    "retransmitted": "Packets sent more than once.",
    "bad_crc": "Frames dropped because of their checksum.",
    "sessions": "Sessions opened.",
}

Labels = tuple[tuple[str, str], ...]
Samples = dict[Labels, float]


class _Tally:
    """What the rows of a run add up to."""

    def __init__(self, header: Header) -> None:
        names = [task.name for task in header.tasks]
        self.outcomes: Counter[tuple[str, str]] = Counter({(name, kind.value): 0 for name in names for kind in Outcome})
        self.corrected: Counter[str] = Counter(dict.fromkeys(names, 0))
        self.detected: Counter[str] = Counter(dict.fromkeys(names, 0))
        self.attempts = 0
        self.link: Counter[str] = Counter(dict.fromkeys(_LINK_COUNTERS, 0))
        self.heat: HeatRow | None = None
        self._seen: set[tuple[str, int]] = set()

    def add(self, row: Row) -> None:
        match row:
            case TrialRow() if (row.protection, row.trial) not in self._seen:
                self._seen.add((row.protection, row.trial))
                self.outcomes[row.protection, row.outcome] += 1
                self.corrected[row.protection] += row.corrected_words
                self.detected[row.protection] += row.detected_words
            case AttemptRow():
                self.attempts += 1
            case LinkRow():
                self.link.update({name: row.counters.get(name, 0) for name in _LINK_COUNTERS})
            case HeatRow():
                self.heat = row


def metrics(directory: Path) -> str:
    """Give the metrics of a run as they stand now; write them to a file for node_exporter's textfile collector."""
    header = read_header(directory)
    tally = _Tally(header)
    for row in read_rows(directory):
        tally.add(row)
    return "".join(_families(header, tally))


def _families(header: Header, tally: _Tally) -> Iterator[str]:
    run: Labels = (("run", header.name),)
    planned: Samples = {(*run, ("protection", task.name)): float(header.trials) for task in header.tasks}
    yield _family("flightnode_trials_planned", "gauge", "Trials that the campaign asks for.", planned)
    trials = {
        (*run, ("protection", name), ("outcome", kind)): float(number)
        for (name, kind), number in tally.outcomes.items()
    }
    yield _family("flightnode_trials_total", "counter", "Trials by how they ended.", trials)
    for name, meaning, counts in (
        ("corrected", "Codewords repaired.", tally.corrected),
        ("detected", "Codewords found wrong and not repaired.", tally.detected),
    ):
        words: Samples = {(*run, ("protection", task)): float(number) for task, number in counts.items()}
        yield _family(f"flightnode_words_{name}_total", "counter", meaning, words)
    attempts: Samples = {run: float(tally.attempts)}
    yield _family("flightnode_attempts_failed_total", "counter", "Attempts lost to the infrastructure.", attempts)
    for name, meaning in _LINK_COUNTERS.items():
        yield _family(f"flightnode_link_{name}_total", "counter", meaning, {run: float(tally.link[name])})
    if tally.heat is not None:
        warmth: Samples = {run: tally.heat.temperature_c}
        yield _family("flightnode_plant_temperature_celsius", "gauge", "Temperature of the plant.", warmth)
        yield _family(
            "flightnode_clock_ratio", "gauge", "Share of the full clock that is allowed.", {run: tally.heat.clock_ratio}
        )


def _family(name: str, kind: str, meaning: str, samples: Samples) -> str:
    lines = [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"]
    for labels, value in samples.items():
        text = ",".join(f'{key}="{_escaped(held)}"' for key, held in labels)
        lines.append(f"{name}{{{text}}} {value:.10g}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
