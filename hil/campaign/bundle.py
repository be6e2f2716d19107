"""What a run keeps of its campaign, so that it can be resumed and replayed from its directory alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

from firmware_bridge.errors import ConfigError
from hil.boards.bench_file import BENCH_FILE, bench_text, boards_of
from hil.campaign.configuration import CRITICAL, CampaignFile, load_campaign
from hil.campaign.predicate import predicate_source
from hil.toml_file import toml_text

BUNDLE_FOLDER = "campaign"
BUNDLE_FILE = "campaign.toml"


def write_bundle(campaign: CampaignFile, out: Path) -> None:
    """Copy a campaign and its files into ``out/campaign``.

    The file is written in one normal form with every control spelt out; models that come with the package are
    kept by name, and boards with their entries of the bench file. A bundle that is there already must be of the same
    campaign.

    Parameters
    ----------
    campaign : CampaignFile
        With target and trials as they are run.
    out : Path
        The results directory; created if missing.

    Raises
    ------
    ConfigError
        ``out`` holds the copy of another campaign.
    """
    folder = out / BUNDLE_FOLDER
    copies = _files(campaign)
    workload = campaign.workload
    if not workload.is_builtin:
        model, inputs, labels = (Path(name).name for name in (workload.model, workload.inputs, workload.labels))
        workload = msgspec.structs.replace(workload, model=model, inputs=inputs, labels=labels)
    workload = msgspec.structs.replace(workload, initial_state=Path(workload.initial_state).name)
    text = toml_text(msgspec.structs.replace(campaign, workload=workload).to_document())
    if (folder / BUNDLE_FILE).exists():
        if not _holds(folder, text, copies):
            raise ConfigError(f"{out} holds another campaign; choose another --out")
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{out}: cannot write results here: {error.strerror}; choose another --out") from None
    for source in copies:
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, folder / source.name, ignore=ignored, dirs_exist_ok=True)
        else:
            shutil.copyfile(source, folder / source.name)
    boards = boards_of(campaign.campaign.target, campaign.bench_folders)
    if boards:
        (folder / BENCH_FILE).write_text(bench_text(boards), encoding="utf-8")
    # Last, and in one step: a folder with this file is complete.
    temporary = folder / f"{BUNDLE_FILE}.tmp"
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(folder / BUNDLE_FILE)


def load_bundle(directory: Path) -> CampaignFile:
    """Give the campaign that a results directory was made with.

    Raises
    ------
    ConfigError
        The directory does not exist, is no results directory, or its copy of the campaign is damaged.
    """
    path = directory / BUNDLE_FOLDER / BUNDLE_FILE
    if not directory.is_dir():
        raise ConfigError(f"{directory}: no such directory; give the directory of a run (`hil run` prints it)")
    if not path.exists():
        raise ConfigError(f"{directory}: holds no {BUNDLE_FOLDER}/{BUNDLE_FILE}; give the directory of a run")
    return load_campaign(path)


def _files(campaign: CampaignFile) -> list[Path]:
    files: list[Path] = []
    if not campaign.workload.is_builtin:
        files += [campaign.model_path, campaign.inputs_path]
        files += [campaign.labels_path] if campaign.labels_path else []
    files += [campaign.initial_state_path] if campaign.initial_state_path else []
    if campaign.workload.critical not in CRITICAL:
        source = predicate_source(campaign.workload.critical, campaign.directory)
        files += [source] if source else []
    return files


def _holds(folder: Path, text: str, copies: list[Path]) -> bool:
    def same(source: Path) -> bool:
        copy = folder / source.name
        return source.is_dir() or (copy.exists() and copy.read_bytes() == source.read_bytes())

    return (folder / BUNDLE_FILE).read_text(encoding="utf-8") == text and all(same(source) for source in copies)
