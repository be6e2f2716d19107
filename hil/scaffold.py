"""Writes campaigns that run as they are: the example, and one for a model of the user's own."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from firmware_bridge.errors import ConfigError
from hil.boards.bench_file import BENCH_FILE
from hil.toml_file import toml_text

EXAMPLES = Path(__file__).parent / "examples"
CAMPAIGN_FILE = "campaign.toml"


@dataclass(frozen=True, kw_only=True)
class OwnModel:
    """A model of the user's own and what belongs to it.

    Parameters
    ----------
    model, inputs : Path
        The ``.onnx`` file, and an ``.npz`` file with one array for each input of the model, first axis = sample.
    labels : Path, optional
        An ``.npy`` file with one integer a sample.
    critical : str
        As in ``[workload]`` of a campaign file; a ``module:function`` is looked for in ``module_folder``.
    tolerance : float
        For ``critical = "tolerance"``.
    state : mapping of str to str, optional
        Which output feeds which input in the next inference; without it the names decide.
    module_folder : Path
        Where the module of a predicate lies.
    """

    model: Path
    inputs: Path
    labels: Path | None = None
    critical: str = "top1"
    tolerance: float = 0.0
    state: Mapping[str, str] | None = None
    module_folder: Path = Path()


def write_example(directory: Path) -> tuple[Path, ...]:
    """Write ``campaign.toml`` and ``bench.toml`` with comments; give their paths.

    Raises
    ------
    ConfigError
        One of them is there already, or ``directory`` cannot be written.
    """
    files = {name: (EXAMPLES / name).read_text(encoding="utf-8") for name in (CAMPAIGN_FILE, BENCH_FILE)}
    return _write(directory, files, copies={})


def write_for_model(directory: Path, own: OwnModel) -> tuple[Path, ...]:
    """Check a model and all that belongs to it, then write a campaign for it; give the paths written.

    What is checked is what a run would check: the model compiles, the inputs have its names, shapes and types,
    the labels are one a sample, the predicate can be imported, and every sample gives its golden output.

    Raises
    ------
    ModelError, DataError, ConfigError
        Anything of that fails, or a file is there already; nothing is written then.
    """
    from hil.campaign.configuration import read_campaign
    from hil.campaign.predicate import predicate_source
    from hil.campaign.workload import load_workload

    copies = {"model.onnx": own.model, "inputs.npz": own.inputs}
    copies |= {"labels.npy": own.labels} if own.labels else {}
    source = predicate_source(own.critical, own.module_folder) if ":" in own.critical else None
    copies |= {source.name: source} if source else {}
    _refuse_overwriting(directory, [CAMPAIGN_FILE, BENCH_FILE, *copies])
    for path in (own.model, own.inputs, *([own.labels] if own.labels else [])):
        if not path.is_file():
            raise ConfigError(f"{path}: no such file; give the path of an existing one")
    checked = {
        "campaign": {"name": "check"},
        "workload": _workload(own, {name: str(path.absolute()) for name, path in copies.items()}),
        "protection": [{"name": "none", "code": "none"}],
    }
    image = load_workload(read_campaign(checked, own.module_folder / CAMPAIGN_FILE)).image
    section = _workload(own, {name: name for name in copies})
    name = directory.absolute().name or "own"
    files = {
        CAMPAIGN_FILE: _example_for(name, section, has_state=bool(image.states)),
        BENCH_FILE: (EXAMPLES / BENCH_FILE).read_text(encoding="utf-8"),
    }
    return _write(directory, files, copies)


def _workload(own: OwnModel, names: Mapping[str, str]) -> dict[str, object]:
    """Give the ``[workload]`` table, with the paths that ``names`` gives to model.onnx, inputs.npz and labels.npy."""
    table: dict[str, object] = {"model": names["model.onnx"], "inputs": names["inputs.npz"]}
    table |= {"labels": names["labels.npy"]} if own.labels else {}
    table["critical"] = own.critical
    table |= {"tolerance": own.tolerance} if own.tolerance else {}
    table |= {"state": dict(own.state)} if own.state is not None else {}
    return table


def _example_for(name: str, workload: dict[str, object], *, has_state: bool) -> str:
    """Give the example campaign under another name and with another ``[workload]``, comments kept.

    State, where there is some, is struck too, and guarded.
    """
    text = (EXAMPLES / CAMPAIGN_FILE).read_text(encoding="utf-8")
    head, _, rest = text.partition("[workload]\n")
    _, strikes, tail = rest.partition("[strikes]\n")
    named = toml_text({"name": name}).strip()
    if has_state:
        tail = tail.replace('regions = ["weights", "activations"]', 'regions = ["weights", "activations", "state"]')
        tail = re.sub(r'(?m)^(code = "(?!none")\w+")$', r'\1\nregions = ["weights", "state"]', tail)
    return head.replace('name = "digits"', named) + toml_text({"workload": workload}) + "\n" + strikes + tail


def _refuse_overwriting(directory: Path, names: list[str]) -> None:
    if directory.exists() and not directory.is_dir():
        raise ConfigError(f"{directory}: is a file; give the name of a directory")
    for name in names:
        if (directory / name).exists():
            raise ConfigError(f"{directory / name}: exists and is not overwritten; give another directory")


def _write(directory: Path, files: Mapping[str, str], copies: Mapping[str, Path]) -> tuple[Path, ...]:
    _refuse_overwriting(directory, [*files, *copies])
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, source in copies.items():
            if source.is_dir():
                shutil.copytree(source, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copyfile(source, directory / name)
        for name, text in files.items():
            (directory / name).write_text(text, encoding="utf-8")
    except PermissionError as error:
        raise ConfigError(f"{error.filename}: no permission; choose a directory of yours") from None
    return tuple(directory / name for name in (*files, *copies))
