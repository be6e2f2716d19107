"""The campaign file: what is struck, how often, with which protections, and where.

A campaign file is TOML. :func:`load_campaign` reads and checks all that can be checked without computing; every
error names the file, the key, what is wrong and what to do. ``hil init --example DIR`` writes one that runs.
"""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from firmware_bridge.errors import ConfigError
from hil.boards.address import check_target
from hil.campaign.protections import ProtectionEntry, read_entry, with_controls
from hil.campaign.rate import RateSection, check_demand, read_rate
from hil.strikes.fault_model import FaultModel
from hil.strikes.fault_model import preset as fault_model_preset
from hil.toml_file import Table, check_keys, read_document, typed_table
from hil.workloads import BUILTIN

if TYPE_CHECKING:
    from hil.environment.thermal_run import ThermalSchedule

STRIKE_REGIONS = ("weights", "activations", "state", "steps")
ACCUMULATORS = "accumulators"
CRITICAL = ("top1", "labels", "tolerance")
MISSING_HINT = "write a campaign with `hil init --example DIR`"

Count = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]


class CampaignSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[campaign]``: its name, its seed, how much is run, and where.

    ``requires`` lists capabilities that every board of the target must have in its bench file.
    """

    name: str
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] = 0
    trials: Count = 1000
    inferences: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 4
    target: str = "sim"
    requires: tuple[str, ...] = ()


class WorkloadSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[workload]``: the model, its inputs, and what makes a wrong output critical.

    ``critical`` is ``top1`` (the largest output moved), ``labels`` (a right answer became a wrong one),
    ``tolerance`` (off by more than ``tolerance`` times the largest golden output) or ``module:function``
    (see :mod:`hil.campaign.predicate`). ``state`` says which output feeds which input in the next inference
    (:func:`hil.compile_model`); left out, the names decide. The samples of such a model are sequences of
    ``inferences`` in a row, each from the beginning: from zeros, or from the arrays of the ``.npz`` file
    ``initial_state``, one for each input that is state.
    """

    model: str
    inputs: str = ""
    labels: str = ""
    critical: str = "top1"
    tolerance: Annotated[float, msgspec.Meta(ge=0.0)] = 0.0
    state: dict[str, str] | None = None
    initial_state: str = ""

    @property
    def is_builtin(self) -> bool:
        """True for a model that comes with the package."""
        return self.model in BUILTIN

    @property
    def label(self) -> str:
        """Name of the model without its folder: the same for a campaign and for the copy that a run keeps."""
        return self.model if self.is_builtin else Path(self.model).name


class StrikesSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[strikes]``: a preset of :mod:`hil.strikes`, or ``[strikes.custom]`` with the fields of a FaultModel.

    ``regions`` is for models that strike memory; one that strikes accumulators says so itself.
    """

    fault_model: str = ""
    custom: dict[str, Any] | None = None
    regions: tuple[str, ...] = ("weights", "activations")


class StopSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[stop]``: end early, once the failure interval of every protection is narrow enough.

    ``half_width`` is in failures per strike on the shared cells. It is asked after ``least_trials`` and then each time
    after a quarter more; all intervals hold together and at all of these looks.
    """

    half_width: float
    least_trials: Annotated[int, msgspec.Meta(ge=10, le=2**31 - 1)] = 100


class SamplingSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[sampling]``: how ``hil estimate`` draws single-bit faults of the weights; ``hil run`` does not read it.

    ``method`` is ``stratified`` (by layer and class of bit, shared out after a pilot), ``importance`` (steered to where
    the pilot found harm) or ``plain``. ``faults`` is how many are drawn; left out, so many as ``margin`` asks for, the
    absolute half-width at 99 % of a plain sample. ``count`` is the harm that counts, on any of the first ``inputs``.
    """

    method: Literal["stratified", "importance", "plain"] = "stratified"
    faults: Count | None = None
    margin: Annotated[float, msgspec.Meta(gt=1e-6, le=0.5)] = 0.01
    count: Literal["critical", "wrong"] = "critical"
    inputs: Count = 100


class HeatSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[heat]``: after the trials the node is kept busy while a plant warms and cools around it.

    The keys are those of :class:`hil.environment.thermal_run.ThermalSchedule`; one that is left out has its default.
    ``ambient`` lists pairs of a second and the ambient temperature from then on, in degrees Celsius. A node on a
    Raspberry Pi's mini UART is heated only with ``allow_mini_uart``, since throttling garbles that line.
    """

    duration_s: float | None = None
    slice_s: float | None = None
    acceleration: float | None = None
    start_ambient_c: float | None = None
    ambient: tuple[tuple[float, float], ...] | None = None
    sensor_fault: str | None = None
    sensor_fault_s: float | None = None
    allow_mini_uart: bool = False

    def schedule(self) -> ThermalSchedule:
        """Give what happens to the plant; ConfigError for values that make no sense."""
        from hil.environment.thermal_run import ThermalSchedule

        given = {key: value for key, value in msgspec.structs.asdict(self).items() if value is not None}
        del given["allow_mini_uart"]
        return ThermalSchedule(**given)


class CampaignFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A campaign that was read and checked.

    Parameters
    ----------
    directory : Path
        Folder of the file; the workload's paths are relative to it.
    fault_model : FaultModel
        What ``strikes`` names.
    protections : tuple of ProtectionEntry
        In the order none, the listed ones, null, oracle, restore; controls that the file left out are added.
    heat : HeatSection or None
        The thermal run that follows the trials, if any.
    stop : StopSection or None
        When fewer trials are enough.
    sampling : SamplingSection
        How shares are estimated.
    desk : Path or None
        Folder with this desk's bench file, the working directory where not given.
    """

    directory: Path
    campaign: CampaignSection
    workload: WorkloadSection
    strikes: StrikesSection
    fault_model: FaultModel
    rate: RateSection | None
    protections: tuple[ProtectionEntry, ...]
    heat: HeatSection | None = None
    stop: StopSection | None = None
    sampling: SamplingSection = SamplingSection()
    desk: Path | None = None

    @property
    def struck_regions(self) -> tuple[str, ...]:
        """The regions that are struck: those of ``strikes``, or those that the fault model is about."""
        return (ACCUMULATORS,) if self.fault_model.in_accumulators else self.strikes.regions

    @property
    def model_path(self) -> Path:
        """Where the ONNX file lies."""
        files = BUILTIN.get(self.workload.model)
        return files.model_path if files else self.directory / self.workload.model

    @property
    def inputs_path(self) -> Path:
        """Where the ``.npz`` file with one array a model input lies."""
        files = BUILTIN.get(self.workload.model)
        return files.inputs_path if files else self.directory / self.workload.inputs

    @property
    def labels_path(self) -> Path | None:
        """Where the labels lie: ``.npy``, or the ``labels`` array of a builtin's ``.npz``; None without labels."""
        files = BUILTIN.get(self.workload.model)
        if files:
            return files.inputs_path if files.labelled else None
        return self.directory / self.workload.labels if self.workload.labels else None

    @property
    def initial_state_path(self) -> Path | None:
        """Where the ``.npz`` file with the first values of state lies; None where all of it is zeros."""
        return self.directory / self.workload.initial_state if self.workload.initial_state else None

    @property
    def bench_folders(self) -> tuple[Path, ...]:
        """Where the boards of the target are looked up: this desk's bench file first, then the campaign's own."""
        return (self.desk or Path.cwd(), self.directory)

    def changed(
        self, *, target: str | None = None, trials: int | None = None, desk: Path | None = None
    ) -> CampaignFile:
        """Give the campaign with another target, number of trials or desk; None keeps what there is."""
        section = self.campaign
        if target is not None:
            check_target(target, "--target")
            section = msgspec.structs.replace(section, target=target)
        if trials is not None:
            if not 1 <= trials < 2**31:
                raise ConfigError(f"--trials {trials}: give 1 or more")
            section = msgspec.structs.replace(section, trials=trials)
        return msgspec.structs.replace(self, campaign=section, desk=desk or self.desk)

    def to_document(self) -> Table:
        """Give the tables that :func:`read_campaign` reads back equal, with every control written out."""
        return {
            "campaign": msgspec.structs.asdict(self.campaign),
            "workload": {key: value for key, value in msgspec.structs.asdict(self.workload).items() if value != ""},
            "strikes": {
                "fault_model": self.fault_model.name if self.strikes.custom is None else None,
                "regions": None if self.fault_model.in_accumulators else self.strikes.regions,
                "custom": self.strikes.custom,
            },
            "rate": msgspec.structs.asdict(self.rate) if self.rate else None,
            "stop": msgspec.structs.asdict(self.stop) if self.stop else None,
            "sampling": msgspec.structs.asdict(self.sampling) if self.sampling != SamplingSection() else None,
            "heat": msgspec.structs.asdict(self.heat) if self.heat else None,
            "protection": [entry.to_table() for entry in self.protections],
        }


def load_campaign(path: Path) -> CampaignFile:
    """Give the campaign of a file.

    Parameters
    ----------
    path : Path
        A TOML file; the paths inside it are relative to its folder.

    Raises
    ------
    ConfigError
        For anything that cannot be run as written; the message names file, key and remedy.
    """
    return read_campaign(read_document(path, MISSING_HINT), path)


def read_campaign(document: Table, path: Path) -> CampaignFile:
    """Give the campaign that ``document``, the tables of the file ``path``, describes."""
    check_keys(
        document, ["campaign", "workload", "strikes", "rate", "stop", "sampling", "heat", "protection"], str(path)
    )
    for key in ("campaign", "workload"):
        if key not in document:
            raise ConfigError(f"{path}: [{key}] is missing; add it, or {MISSING_HINT}")
    campaign = typed_table(document["campaign"], CampaignSection, f"{path}: [campaign]")
    if not campaign.name.strip() or not campaign.name.isprintable():
        raise ConfigError(f"{path}: [campaign]: name = {campaign.name!r}; give a name of printable characters")
    check_target(campaign.target, f"{path}: [campaign]: target")
    strikes = typed_table(document.get("strikes", {}), StrikesSection, f"{path}: [strikes]")
    result = CampaignFile(
        directory=path.absolute().parent,
        campaign=campaign,
        workload=typed_table(document["workload"], WorkloadSection, f"{path}: [workload]"),
        strikes=strikes,
        fault_model=_fault_model(strikes, f"{path}: [strikes]"),
        rate=read_rate(document.get("rate"), f"{path}: [rate]"),
        protections=_protections(document.get("protection", []), f"{path}: [[protection]]"),
        heat=_heat(document.get("heat"), f"{path}: [heat]"),
        stop=_stop(document.get("stop"), f"{path}: [stop]"),
        sampling=_sampling(document.get("sampling"), f"{path}: [sampling]"),
    )
    if result.fault_model.in_accumulators:
        _check_accumulators(result, document, str(path))
    check_demand(result.rate, result.protections, f"{path}: [rate]")
    _check_workload(result, f"{path}: [workload]")
    return result


def _fault_model(strikes: StrikesSection, where: str) -> FaultModel:
    if not strikes.regions or len(set(strikes.regions)) != len(strikes.regions):
        raise ConfigError(f"{where}: regions = {list(strikes.regions)}: name at least one region, each once")
    for region in strikes.regions:
        if region not in STRIKE_REGIONS:
            raise ConfigError(f"{where}: regions: no region {region!r}; choose from {', '.join(STRIKE_REGIONS)}")
    if strikes.custom is not None and strikes.fault_model:
        raise ConfigError(f"{where}: fault_model and [strikes.custom] are both given; keep one of them")
    try:
        if strikes.custom is not None:
            return FaultModel.from_mapping({"name": "custom"} | strikes.custom)
        return fault_model_preset(strikes.fault_model or "clusters")
    except ConfigError as error:
        key = "custom" if strikes.custom is not None else "fault_model"
        raise ConfigError(f"{where}: {key}: {str(error).removeprefix('fault model: ')}") from None


def _check_accumulators(campaign: CampaignFile, document: Table, where: str) -> None:
    name = campaign.fault_model.name
    if "regions" in document.get("strikes", {}):
        raise ConfigError(
            f"{where}: [strikes]: regions: {name!r} strikes {ACCUMULATORS} and no memory; leave regions out"
        )
    if campaign.rate is not None:
        raise ConfigError(f"{where}: [rate] is per bit of memory and {name!r} strikes none of it; leave [rate] out")


def _sampling(table: Any, where: str) -> SamplingSection:
    return SamplingSection() if table is None else typed_table(table, SamplingSection, where)


def _stop(table: Any, where: str) -> StopSection | None:
    if table is None:
        return None
    stop = typed_table(table, StopSection, where)
    if not 0.0 < stop.half_width < 1.0:
        raise ConfigError(f"{where}: half_width = {stop.half_width}: give failures per strike between 0 and 1")
    return stop


def _heat(table: Any, where: str) -> HeatSection | None:
    if table is None:
        return None
    heat = typed_table(table, HeatSection, where)
    try:
        heat.schedule()
    except ConfigError as error:
        raise ConfigError(f"{where}: {str(error).removeprefix('thermal schedule: ')}") from None
    return heat


def _protections(tables: Any, where: str) -> tuple[ProtectionEntry, ...]:
    from node.ecc import CODES

    if not isinstance(tables, list):
        raise ConfigError(f"{where}: expected tables; write each protection under its own [[protection]]")
    listed = tuple(read_entry(table, where, tuple(CODES)) for table in tables)
    if not listed:
        raise ConfigError(f"{where}: none is listed; add at least one [[protection]] with name and code")
    seen: set[str] = set()
    for entry in listed:
        if entry.name in seen:
            raise ConfigError(f"{where} {entry.name!r}: this name stands there twice; names must differ")
        seen.add(entry.name)
    return with_controls(listed)


def _check_workload(campaign: CampaignFile, where: str) -> None:
    workload = campaign.workload
    if workload.is_builtin:
        if workload.inputs or workload.labels:
            raise ConfigError(f"{where}: {workload.model} brings its own inputs and labels; leave both out")
    elif workload.model.startswith("builtin:"):
        raise ConfigError(f"{where}: model = {workload.model!r}: no such model; choose from {', '.join(BUILTIN)}")
    elif not workload.inputs:
        raise ConfigError(f"{where}: inputs is missing; give a .npz file with one array for each input of the model")
    _check_file(campaign.model_path, f"{where}: model", (".onnx",))
    _check_file(campaign.inputs_path, f"{where}: inputs", (".npz",))
    if campaign.labels_path is not None and not workload.is_builtin:
        _check_file(campaign.labels_path, f"{where}: labels", (".npy",))
    if campaign.initial_state_path is not None:
        _check_file(campaign.initial_state_path, f"{where}: initial_state", (".npz",))
        if Path(workload.initial_state).name == campaign.inputs_path.name:
            raise ConfigError(f"{where}: initial_state and inputs have one name; a run keeps both in one folder")
    _check_critical(campaign, where)


def _check_file(path: Path, where: str, suffixes: tuple[str, ...]) -> None:
    if path.suffix not in suffixes:
        raise ConfigError(f"{where} = {path.name!r}: expected a {' or '.join(suffixes)} file")
    if not path.is_file():
        raise ConfigError(f"{where}: no file {path}; paths are relative to the campaign file")


def _check_critical(campaign: CampaignFile, where: str) -> None:
    from hil.campaign.predicate import load_predicate

    workload = campaign.workload
    if not isfinite(workload.tolerance):
        raise ConfigError(f"{where}: tolerance = {workload.tolerance}: give a finite number")
    if workload.critical == "labels" and campaign.labels_path is None:
        raise ConfigError(f"{where}: critical = 'labels' needs labels; add labels = \"FILE.npy\"")
    if (workload.critical == "tolerance") != (workload.tolerance > 0.0):
        raise ConfigError(
            f"{where}: tolerance = {workload.tolerance} with critical = {workload.critical!r}: "
            'a tolerance above 0 belongs to critical = "tolerance", and to nothing else'
        )
    if workload.critical not in CRITICAL:
        load_predicate(workload.critical, campaign.directory, where)
