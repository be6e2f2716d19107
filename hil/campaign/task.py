"""What is repeated: one workload under one protection, one fault model and one seed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from firmware_bridge.errors import ConfigError
from firmware_bridge.messages import Run
from hil.campaign.protections import ProtectionEntry
from hil.campaign.workload import Workload
from hil.strikes import FaultModel, FaultSpace, Stream, Strike, Window, land, sample_strikes, strike_key
from hil.strikes.strike import MOST_STRIKES
from node.arena import Layout
from node.layout import layout_of
from node.protection import Protection, Ranges

ENGINE_VERSION = "2"
"""Part of every task_id: raise it when the same faults may give another outcome."""


@dataclass(frozen=True, kw_only=True)
class Nature:
    """What is the same for every protection of a campaign: who strikes, where, how, when.

    Parameters
    ----------
    key : str
        The strike key: a hash of workload, scenario, fault model and seed.
    model : FaultModel
        How memory is struck.
    regions : tuple of str
        Shared regions that are struck.
    inferences : int
        Inferences in one trial.
    n_inputs : int
        Samples to draw the inputs of a trial from.
    n_steps : int
        Operators in one inference.
    in_order : bool
        The model has state: a trial takes one of the sequences of ``inferences`` samples in a row.
    """

    key: str
    model: FaultModel
    regions: tuple[str, ...]
    inferences: int
    n_inputs: int
    n_steps: int
    in_order: bool = False

    @classmethod
    def of(
        cls, workload: Workload, model: FaultModel, regions: tuple[str, ...], *, seed: int, inferences: int
    ) -> Nature:
        """Give the nature of a campaign on ``workload``."""
        scenario = f"{inferences} inferences, {','.join(regions)}"
        return cls(
            key=strike_key(workload.digest, scenario, model, seed),
            model=model,
            regions=regions,
            inferences=inferences,
            n_inputs=workload.n_inputs,
            n_steps=len(workload.image.steps),
            in_order=bool(workload.image.states),
        )

    def inputs(self, trial: int) -> tuple[int, ...]:
        """Give the samples of a trial, the same under every protection."""
        stream = Stream(self.key, trial, "inputs")
        if self.in_order:
            first = stream.below(self.n_inputs // self.inferences) * self.inferences
            return tuple(range(first, first + self.inferences))
        return tuple(stream.below(self.n_inputs) for _ in range(self.inferences))


@dataclass(frozen=True, kw_only=True)
class StrikeRun:
    """The request that carries out one strike of a trial by itself; ``strike_id`` is empty where nothing strikes."""

    trial: int
    strike_id: str
    run: Run


@dataclass(frozen=True, kw_only=True)
class Task:
    """One protection under test."""

    name: str
    control: str
    protection: Protection
    temperature_c: float | None
    nature: Nature
    layout: Layout
    space: FaultSpace

    @classmethod
    def of(cls, entry: ProtectionEntry, workload: Workload, nature: Nature) -> Task:
        """Give the task of one protection of a campaign."""
        protection = entry.protection
        if nature.in_order and protection.ranges is not Ranges.OFF and not protection.sequence:
            protection = replace(protection, sequence=nature.inferences)
        layout = layout_of(workload.image, protection)
        space = FaultSpace.of(layout, nature.regions)
        exposure = space.exposure(_time_factor(protection, nature.model))
        if exposure > MOST_STRIKES:
            raise ConfigError(
                f"[[protection]] {entry.name!r}: so much larger or slower than the shared cells, it would receive "
                f"{exposure:.0f} strikes a trial (at most {MOST_STRIKES}); lower padding_bytes, slowdown or redundancy"
            )
        return cls(
            name=entry.name,
            control=entry.control,
            protection=protection,
            temperature_c=entry.temperature_c,
            nature=nature,
            layout=layout,
            space=space,
        )

    @property
    def task_id(self) -> str:
        """Hash of all that influences the outcomes."""
        parts = (self.nature.key, self.control == "null", self.protection.to_json(), ENGINE_VERSION)
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

    @property
    def mean_strikes(self) -> float:
        """Expected strikes in one trial: one on the shared cells, and those that this protection adds."""
        return 0.0 if self.control == "null" else self.space.exposure(_time_factor(self.protection, self.nature.model))

    def strikes(self, trial: int) -> tuple[Strike, ...]:
        """Give what nature does in a trial; nothing under the control ``null``."""
        if self.control == "null":
            return ()
        window = Window(
            inferences=self.nature.inferences,
            steps=self.nature.n_steps,
            slowdown=_slowdown(self.protection, self.nature.model),
            copies=self.protection.redundancy,
        )
        return sample_strikes(self.nature.key, trial, self.space, self.nature.model, window)

    def prepare(self, trial: int) -> tuple[StrikeRun, ...]:
        """Give the requests that carry out a trial: one a strike, the one on the shared cells first."""
        inputs = self.nature.inputs(trial)
        strikes = self.strikes(trial)
        if not strikes:
            return (StrikeRun(trial=trial, strike_id="", run=Run(run_id=_run_id(trial, 0), inputs=inputs)),)
        return tuple(
            StrikeRun(
                trial=trial,
                strike_id=strike.id,
                run=Run(
                    run_id=_run_id(trial, index),
                    inputs=inputs,
                    faults=land(strike, self.space, self.nature.model),
                ),
            )
            for index, strike in enumerate(strikes)
        )


def _slowdown(protection: Protection, model: FaultModel) -> float:
    """Give by how much a protection stretches the time in which cells are there to be struck; sums never idle."""
    return 1.0 if model.in_accumulators else protection.slowdown


def _time_factor(protection: Protection, model: FaultModel) -> float:
    return protection.redundancy * _slowdown(protection, model)


def _run_id(trial: int, index: int) -> int:
    """Give a number that is unique among the runs that are under way at once."""
    return (trial << 12 | index) & 0xFFFF_FFFF
