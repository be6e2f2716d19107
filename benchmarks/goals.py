"""The goals of ``goals*.toml``, each checked when it is read."""

from __future__ import annotations

import importlib.util
import shutil
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from firmware_bridge.errors import ConfigError

GOALS_FILES = tuple(sorted(Path(__file__).parent.glob("goals*.toml")))
GROUPS = ("inference", "gemm", "campaign", "ecc", "checks", "link", "scrub", "recovery", "startup")


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What has to be reached, and what a machine must have for it to be measured.

    Parameters
    ----------
    group, name : str
        Where the goal belongs; the name of the contest in ``bench_<group>.py`` unless ``contest`` gives another.
    what : str
        What the ratio says, in one line.
    ratio : float
        Least ratio that meets the goal; higher is better.
    stretch : bool
        A goal that may be missed.
    requires : tuple of str
        ``cpu:FLAG`` for a flag of ``/proc/cpuinfo``, ``module:NAME`` for a package, ``command:NAME`` for a program.
    contest : str
        Name of the contest; two goals may share one.
    """

    group: str
    name: str
    what: str
    ratio: float
    stretch: bool = False
    requires: tuple[str, ...] = ()
    contest: str = field(default="")

    def __post_init__(self) -> None:
        object.__setattr__(self, "contest", self.contest or self.name)
        object.__setattr__(self, "requires", tuple(self.requires))
        if self.group not in GROUPS:
            raise ConfigError(f"goal {self.name!r}: no group {self.group!r}: choose from {', '.join(GROUPS)}")
        if not self.ratio > 0:
            raise ConfigError(f"goal {self.name!r}: ratio = {self.ratio}: give a number above 0")

    def missing(self) -> str | None:
        """Give what this machine lacks, or None."""
        for requirement in self.requires:
            kind, _, name = requirement.partition(":")
            if kind == "cpu" and name not in _cpu_flags():
                return f"this CPU has no {name}"
            if kind == "module" and importlib.util.find_spec(name) is None:
                return f"the package {name} is not installed"
            if kind == "command" and shutil.which(name) is None:
                return f"the program {name} is not installed"
            if kind not in ("cpu", "module", "command"):
                raise ConfigError(
                    f"goal {self.name!r}: cannot require {requirement!r}: write cpu:FLAG, module:NAME or command:NAME"
                )
        return None


def read_goals(*paths: Path) -> tuple[Goal, ...]:
    """Give the goals in the order of the files, by default of all there are.

    Raises
    ------
    ConfigError
        A key that is unknown or missing, or a name that comes twice in its group.
    """
    known = {item.name for item in fields(Goal)}
    goals: list[Goal] = []
    entries = [(path, entry) for path in paths or GOALS_FILES for entry in tomllib.loads(path.read_text())["goal"]]
    for path, entry in entries:
        name = entry.get("name", f"number {len(goals) + 1}")
        unknown = set(entry) - known
        lacking = {"group", "name", "what", "ratio"} - set(entry)
        if unknown or lacking:
            raise ConfigError(f"{path.name}: goal {name!r}: unknown keys {sorted(unknown)}, missing {sorted(lacking)}")
        goals.append(_goal(entry))
    seen = [(goal.group, goal.name) for goal in goals]
    for twice in {key for key in seen if seen.count(key) > 1}:
        raise ConfigError(f"goal {twice[0]}/{twice[1]} is there twice")
    return tuple(goals)


def _goal(entry: dict[str, Any]) -> Goal:
    return Goal(**entry)


def _cpu_flags() -> frozenset[str]:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return frozenset()
    lines = (line.partition(":") for line in text.splitlines())
    return frozenset(
        flag for name, _, flags in lines if name.strip() in ("flags", "Features") for flag in flags.split()
    )
