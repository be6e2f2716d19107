"""Trials on the emulated node against loops that strike the weights of an onnxruntime model by hand.

Both carry out the same strikes on weights (one flipped bit a trial, four inferences) without a protection. Ours
also proves that the memory was pristine, reads each injection back, judges each output and makes the row for the
results file.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from onnx import numpy_helper

from benchmarks.bench_inference import session
from benchmarks.contest import Contest
from benchmarks.injection.contests import CONTESTS as INJECTION
from benchmarks.injection.sequences import REGIONS, story_faults
from benchmarks.workers import two_workers
from hil.campaign.board_pool import BoardPool
from hil.campaign.configuration import load_campaign
from hil.campaign.experiment import Experiment
from hil.campaign.task_runner import TaskRunner
from hil.progress import silent
from hil.targets.hosts import MemoryHost
from hil.targets.link_session import LinkSession
from hil.targets.sim_session import SimSession
from hil.workloads import digits

TRIALS = 100
BOARDS = 8
BOARD_BAUD = 115_200
BOARD_TRIALS = 60
CAMPAIGN = """
[campaign]
name = "benchmark"
inferences = 4
[workload]
model = "builtin:digits_f32"
[strikes]
fault_model = "single_bit"
regions = ["weights"]
[[protection]]
name = "none"
code = "none"
"""


class FlippedByHand:
    """Flip, run, compare, restore, with onnxruntime.

    Parameters
    ----------
    experiment : Experiment
        Whose strikes are carried out.
    weights_as_inputs : bool
        True makes the weights inputs of the model, so that a flip is one byte in an array and one session serves all
        trials; False keeps them constants, so that each flip needs a session of its own.
    """

    def __init__(self, experiment: Experiment, *, weights_as_inputs: bool) -> None:
        self._task = next(task for task in experiment.tasks if task.name == "none")
        self._model = onnx.load(digits("f32").model_path)
        self._tensors = list(self._model.graph.initializer)
        self._weights = {tensor.name: numpy_helper.to_array(tensor).copy() for tensor in self._tensors}
        self._images = experiment.workload.inputs["image"].reshape(-1, 1, 1, 8, 8)
        self._session = None
        if weights_as_inputs:
            self._session = session(self._with_weights_as_inputs())
        self._golden = [self._run(self._session or self._built(), sample) for sample in range(len(self._images))]

    def trials(self, numbers: range) -> int:
        """Carry out trials and give the number of wrong outputs."""
        wrong = 0
        for number in numbers:
            for strike in self._task.prepare(number):
                fault = strike.run.faults[0]
                self._flip(fault.bit)
                struck = self._session or self._built()
                for sample in strike.run.inputs[fault.inference :]:
                    wrong += not np.array_equal(self._run(struck, sample), self._golden[sample])
                self._flip(fault.bit)
        return wrong

    def _run(self, built, sample: int) -> np.ndarray:
        feed = {"image": self._images[sample]}
        return built.run(None, feed | self._weights if self._session else feed)[0]

    def _flip(self, bit: int) -> None:
        index = bit // 8 % sum(array.nbytes for array in self._weights.values())
        for array in self._weights.values():
            if index < array.nbytes:
                array.reshape(-1).view(np.uint8)[index] ^= 1 << bit % 8
                return
            index -= array.nbytes

    def _built(self):
        for tensor in self._tensors:
            tensor.raw_data = self._weights[tensor.name].tobytes()
        return session(self._model.SerializeToString())

    def _with_weights_as_inputs(self) -> bytes:
        model = onnx.load(digits("f32").model_path)
        for tensor in model.graph.initializer:
            model.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
        del model.graph.initializer[:]
        return model.SerializeToString()


@contextmanager
def against_flips_by_hand(*, weights_as_inputs: bool, peer_trials: int) -> Iterator[Contest]:
    with TemporaryDirectory() as folder, SimSession() as node:
        path = Path(folder) / "campaign.toml"
        path.write_text(CAMPAIGN)
        experiment = Experiment.of(load_campaign(path))
        node.prepare(experiment.workload.image.to_bytes(), experiment.workload.inputs_file())
        task = next(task for task in experiment.tasks if task.name == "none")
        rows: list[object] = []
        runner = TaskRunner(node, task, experiment.workload, rows.append)
        by_hand = FlippedByHand(experiment, weights_as_inputs=weights_as_inputs)
        yield Contest(
            ours=_in_chunks(runner.collect, TRIALS),
            reference=_in_chunks(by_hand.trials, peer_trials),
            work=TRIALS / peer_trials,
        )
        assert rows


@contextmanager
def boards_together() -> Iterator[Contest]:
    """Eight boards on lines of 115 200 baud share eight times the trials that one alone carries out."""
    with TemporaryDirectory() as folder, ExitStack() as open_pools:
        path = Path(folder) / "campaign.toml"
        path.write_text(CAMPAIGN)
        experiment = Experiment.of(load_campaign(path))

        def pool(boards: int) -> Callable[[range], object]:
            made = BoardPool(
                experiment,
                [str(number) for number in range(boards)],
                lambda _: LinkSession(MemoryHost(BOARD_BAUD), silent),
            )
            open_pools.enter_context(made)
            return lambda trials: deque(made.collect({"none": tuple(trials)}), maxlen=0)

        one, eight = pool(1), pool(BOARDS)
        yield Contest(
            ours=_in_chunks(eight, BOARDS * BOARD_TRIALS),
            reference=_in_chunks(one, BOARD_TRIALS),
            clock=time.perf_counter,
        )


def _in_chunks(carry_out: Callable[[range], object], size: int) -> Callable[[], object]:
    """Give a call that carries out the next trials, so that no two calls strike the same bits."""
    chunks = count()
    return lambda: carry_out(range((start := next(chunks) * size), start + size))


CONTESTS = {
    "flips-by-hand": lambda: against_flips_by_hand(weights_as_inputs=True, peer_trials=TRIALS),
    "board-pool": boards_together,
    "sessions-by-hand": lambda: against_flips_by_hand(weights_as_inputs=False, peer_trials=10),
    "two-workers": two_workers,
    **{f"story-{region}": partial(story_faults, region) for region in REGIONS},
} | INJECTION


def test_campaign(benchmark, side):
    benchmark(side)
