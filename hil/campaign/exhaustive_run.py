"""Carry out an exhaustive campaign on several processes, and keep what came out as one file.

``exhaustive.npz`` holds ``codes`` (uint8 [moments, bits, inputs], see :data:`hil.campaign.exhaustive.OUTCOMES`),
``inputs`` (the numbers of the samples, or of sequences of them) and ``about`` (JSON: what was struck, by which
software, how fast).
"""

from __future__ import annotations

import json
import multiprocessing
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from firmware_bridge.errors import ConfigError, DataError, Interrupted
from hil.campaign.block_log import BlockLog, begun
from hil.campaign.bundle import load_bundle, write_bundle
from hil.campaign.configuration import CampaignFile
from hil.campaign.exhaustive import BLOCK_BITS, OUTCOMES, Block, Classifier, Codes, Verified, blocks_of, moments_of
from hil.campaign.experiment import versions
from hil.campaign.task import ENGINE_VERSION
from hil.campaign.workload import Workload, load_workload
from hil.progress import ProgressEvent, ProgressSink, silent
from node.model.incremental import warm_engine

RESULT_FILE = "exhaustive.npz"


@dataclass(frozen=True, kw_only=True)
class ExhaustiveOptions:
    """What is struck, on how many inputs or sequences, by how many processes, and the share repeated by whole runs."""

    region: str = "weights"
    inputs: int = 100
    workers: int = 1
    verify: float = 0.0

    def __post_init__(self) -> None:
        if self.inputs < 1 or self.workers < 1:
            raise ConfigError(f"{self.inputs} inputs, {self.workers} workers: give 1 or more of each")
        if not 0.0 <= self.verify <= 1.0:
            raise ConfigError(f"--verify {self.verify}: give a share from 0 to 1")


@dataclass(frozen=True, kw_only=True, eq=False)
class Exhaustive:
    """The outcome of every fault of a region.

    Parameters
    ----------
    about : dict
        What was struck, by which software, how fast; plain JSON.
    codes : ndarray of uint8, [moments, bits, inputs]
        Index into :data:`hil.campaign.exhaustive.OUTCOMES`.
    inputs : tuple of int
        The samples of the workload.
    """

    about: dict[str, Any]
    codes: Codes
    inputs: tuple[int, ...]

    def shares(self) -> dict[str, float]:
        """Give the share of each outcome among all faults and inputs."""
        counts = np.bincount(self.codes.reshape(-1), minlength=len(OUTCOMES))
        return {outcome.value: float(count) / self.codes.size for outcome, count in zip(OUTCOMES, counts, strict=True)}

    def save(self, directory: Path) -> Path:
        """Write the file of results and give its path."""
        path = directory / RESULT_FILE
        temporary = path.with_name(f".{path.name}.tmp.npz")
        about = np.array(json.dumps(self.about))
        np.savez_compressed(temporary, codes=self.codes, inputs=np.array(self.inputs, np.int64), about=about)
        temporary.replace(path)
        return path


def load_exhaustive(directory: Path) -> Exhaustive:
    """Read what :meth:`Exhaustive.save` wrote."""
    path = directory / RESULT_FILE
    try:
        with np.load(path, allow_pickle=False) as held:
            about = json.loads(str(held["about"]))
            return Exhaustive(about=about, codes=held["codes"], inputs=tuple(map(int, held["inputs"])))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: no results of `hil exhaustive` ({error}); run it again") from None


def run_exhaustive(
    campaign: CampaignFile, *, out: Path, options: ExhaustiveOptions, progress: ProgressSink = silent
) -> Exhaustive:
    """Classify every fault of a region and write the file of results into ``out``.

    Blocks that an interrupted run of the same left in ``out`` are taken over.

    Raises
    ------
    ShortcutFailed
        A repeated evaluation came out otherwise.
    ConfigError
        ``out`` holds another campaign, or one begun with other options.
    """
    write_bundle(campaign, out)
    workload = load_workload(campaign)
    inputs = tuple(range(min(options.inputs, workload.n_sequences)))
    blocks = list(blocks_of(workload, options.region))
    if not blocks:
        raise DataError(f"model {workload.image.name!r} has no {options.region}: choose another region")
    moments = {moment: number for number, moment in enumerate(moments_of(workload, options.region))}
    codes = np.zeros((len(moments), blocks[-1].last, len(inputs)), np.uint8)

    def part_of(block: Block) -> Codes:
        return codes[moments[block.inference, block.step], block.first : block.last]

    # Compiled here once, loaded from the cache by every worker.
    warm_engine(workload.image)
    started_s = time.perf_counter()
    identity = _identity(workload, options, inputs)
    with BlockLog(out, identity, [(block.last - block.first, len(inputs)) for block in blocks]) as log:
        verified = Verified()
        for number, (part, repeated) in log.finished.items():
            part_of(blocks[number])[:] = part
            verified = verified + Verified(evaluations=repeated)
        kept = done = sum(part.size for part, _ in log.finished.values())
        left = [block for number, block in enumerate(blocks) if number not in log.finished]
        numbers = {block: number for number, block in enumerate(blocks)}
        classify = _in_processes if options.workers > 1 else _here
        for block, part, check in classify(workload, out, left, (options, inputs, campaign.campaign.seed)):
            part_of(block)[:] = part
            log.append(numbers[block], part, check.evaluations)
            verified = verified + check
            done += part.size
            progress(ProgressEvent(stage=f"every bit of {options.region}", done=done, total=codes.size))
        about = _about(workload, options, time.perf_counter() - started_s, verified)
        about |= {"evaluations": codes.size, "evaluations_kept": kept}
        result = Exhaustive(about=about, codes=codes, inputs=inputs)
        result.save(out)
        log.remove()
    return result


def resume_exhaustive(directory: Path, *, workers: int = 1, progress: ProgressSink = silent) -> Exhaustive:
    """Finish what :func:`run_exhaustive` began in a directory; blocks that are there are not classified again.

    Raises
    ------
    DataError
        Nothing unfinished lies there.
    """
    found = begun(directory)
    if found is None:
        raise DataError(f"{directory}: no unfinished `hil exhaustive`")
    options = ExhaustiveOptions(
        region=found["region"], inputs=len(found["inputs"]), verify=found["verify"], workers=workers
    )
    return run_exhaustive(load_bundle(directory), out=directory, options=options, progress=progress)


def _identity(workload: Workload, options: ExhaustiveOptions, inputs: tuple[int, ...]) -> dict[str, Any]:
    """Give everything that decides what the codes are."""
    return {
        "region": options.region,
        "inputs": list(inputs),
        "verify": options.verify,
        "sequence": workload.sequence,
        "model_digest": workload.image.digest,
        "workload_digest": workload.digest,
        "engine_version": ENGINE_VERSION,
        "block_bits": BLOCK_BITS,
    }


def _about(workload: Workload, options: ExhaustiveOptions, elapsed_s: float, verified: Verified) -> dict[str, Any]:
    return {
        "model": workload.image.name,
        "model_digest": workload.image.digest,
        "workload_digest": workload.digest,
        "critical": workload.critical_name,
        "region": options.region,
        "fault": "one bit flipped just before a step, by itself, no protection",
        "sequence": workload.sequence,
        "outcomes": [outcome.value for outcome in OUTCOMES],
        "engine_version": ENGINE_VERSION,
        "versions": versions(),
        "workers": options.workers,
        "elapsed_s": elapsed_s,
        "verified_evaluations": verified.evaluations,
    }


Setup = tuple[ExhaustiveOptions, tuple[int, ...], int]
Part = tuple[Block, Codes, Verified]


def _classified(classifier: Classifier, block: Block, share: float, seed: int) -> Part:
    codes = classifier.classify(block)
    return block, codes, classifier.verify(block, codes, share, seed)


def _here(workload: Workload, _out: Path, blocks: list[Block], setup: Setup) -> Iterator[Part]:
    options, inputs, seed = setup
    classifier = Classifier(workload, options.region, inputs)
    for block in blocks:
        yield _classified(classifier, block, options.verify, seed)


def _in_processes(_workload: Workload, out: Path, blocks: list[Block], setup: Setup) -> Iterator[Part]:
    context = multiprocessing.get_context("spawn")
    workers = setup[0].workers
    with ProcessPoolExecutor(workers, context, initializer=start_worker, initargs=(out, setup)) as pool:
        waiting = iter(blocks)
        pending = {pool.submit(work_on, block) for block in islice(waiting, 2 * workers)}
        try:
            while pending:
                finished: set[Future[Part]]
                finished, pending = wait(pending, return_when=FIRST_COMPLETED)
                pending |= {pool.submit(work_on, block) for block in islice(waiting, len(finished))}
                for future in finished:
                    yield future.result()
        except BrokenProcessPool:
            raise Interrupted("a worker process was killed (out of memory?): use fewer --workers or --inputs") from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


_place: tuple[Path, Setup] | None = None
_classifier: Classifier | None = None


def start_worker(directory: Path, setup: Setup) -> None:
    """Note what to work on; an initialiser that failed could not say why, so the first block does the rest."""
    global _place  # noqa: PLW0603 - a pool's initialiser has no other place to leave what its tasks need
    _place = directory, setup


def work_on(block: Block) -> Part:
    """Classify a block in a process that :func:`start_worker` has set up."""
    global _classifier  # noqa: PLW0603 - see start_worker
    assert _place is not None, "the pool's initialiser has run"
    directory, (options, inputs, seed) = _place
    if _classifier is None:
        _classifier = Classifier(load_workload(load_bundle(directory)), options.region, inputs)
    return _classified(_classifier, block, options.verify, seed)
