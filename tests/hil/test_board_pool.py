"""One campaign over several boards: the results of one, whatever becomes of the others."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from firmware_bridge.bridge import Bridge
from firmware_bridge.errors import ConfigError, DataError, PortError
from hil.boards.address import check_target
from hil.campaign import board_pool
from hil.campaign.board_pool import BoardPool, Shares
from hil.campaign.collect import RunOptions, resume_campaign, run_campaign
from hil.campaign.experiment import Experiment
from hil.campaign.record import LinkRow
from hil.campaign.store import read_rows
from hil.cli import main
from hil.progress import ProgressEvent, silent
from hil.report import summarise, to_json, without_times
from hil.targets import link_session
from hil.targets.hosts import MemoryHost
from hil.targets.link_session import LinkSession
from hil.targets.sim_session import SimSession
from tests.campaigns import attempts, campaign, essence, rows_of, run, write_campaign

TMR = '\n[[protection]]\nname = "tmr"\ncode = "tmr"\n'
TRIALS = 40


class Mortal(MemoryHost):
    """A node that does not come back once it has burnt down."""

    def __init__(self) -> None:
        super().__init__()
        self._lives = 1

    def connect(self) -> Bridge:
        if not self._lives:
            raise PortError("the board has burnt down")
        self._lives -= 1
        return super().connect()

    def burn(self) -> None:
        """End the node, from any thread; its line ends with it."""
        self._node.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_session, "RETURN_TIMEOUT_S", 0.1)


def experiment_of(tmp_path: Path) -> Experiment:
    return Experiment.of(campaign(tmp_path, trials=TRIALS, protections=TMR))


def missing_of(experiment: Experiment) -> dict[str, tuple[int, ...]]:
    return {task.name: tuple(range(TRIALS)) for task in experiment.tasks}


# ---- sharing out --------------------------------------------------------------------------------------------------


def test_every_trial_is_drawn_once_and_what_is_given_back_is_drawn_again() -> None:
    shares = Shares({"a": (1, 2, 3), "b": (4,), "c": ()})
    assert shares.begin() == "a"
    drawn = shares.draw("a")
    assert [next(drawn), next(drawn)] == [1, 2]
    assert shares.begin() == "a"
    assert list(shares.draw("a")) == [3]
    shares.end("a", [])
    shares.end("a", [1, 2])
    assert list(shares.draw("b")) == [4]
    assert shares.begin() == "a"
    assert list(shares.draw("a")) == [1, 2]
    shares.end("a", [])
    assert shares.begin() is None


def test_a_board_with_nothing_to_do_waits_for_what_others_may_give_back() -> None:
    shares = Shares({"a": (1,)})
    name = shares.begin()
    assert list(shares.draw(name)) == [1]
    found: list[str | None] = []
    waiting = threading.Thread(target=lambda: found.append(shares.begin()))
    waiting.start()
    time.sleep(0.05)
    assert found == []
    shares.end(name, [1])
    waiting.join(10)
    assert found == ["a"]


def test_nothing_is_left_after_a_drop() -> None:
    shares = Shares({"a": (1,)})
    shares.drop()
    assert shares.begin() is None


# ---- campaigns ----------------------------------------------------------------------------------------------------


def test_three_boards_give_the_results_of_one(tmp_path: Path) -> None:
    described = campaign(tmp_path, trials=TRIALS, protections=TMR)
    alone = essence(run(described, tmp_path / "alone", "memory"))
    rows = run(described, tmp_path / "pool", "memory,memory,memory")
    assert essence(rows) == alone
    assert attempts(rows) == []
    links = [row for row in rows if isinstance(row, LinkRow)]
    assert len(links) == 3
    assert all(row.counters["messages_sent"] > TRIALS for row in links), "all of them worked"
    one, other = (to_json(summarise(tmp_path / name)) for name in ("alone", "pool"))
    for summary in (one, other):
        del summary["target"], summary["link"]
    assert json.dumps(without_times(one)) == json.dumps(without_times(other))
    resume_campaign(tmp_path / "pool", progress=silent)
    assert list(read_rows(tmp_path / "pool")) == rows, "a complete run is left alone"


def test_a_board_that_dies_gives_its_work_back(tmp_path: Path, impatient: None) -> None:
    experiment = experiment_of(tmp_path)
    with SimSession() as session:
        reference = essence(rows_of(experiment, session))
    hosts = {"mortal": Mortal(), "other": Mortal()}
    told: list[ProgressEvent] = []
    rows = []
    with BoardPool(experiment, list(hosts), lambda name: LinkSession(hosts[name], silent), told.append) as pool:
        for row in pool.collect(missing_of(experiment)):
            rows.append(row)
            if len(rows) == TRIALS:
                hosts["mortal"].burn()
        links = pool.links()
    assert essence(rows) == reference
    lost = [row for row in attempts(rows) if "mortal was lost" in row.reason]
    assert lost, "what was under way is on record"
    assert all("burnt down" in row.reason for row in lost)
    assert len(links) == 1
    assert [event.note for event in told if "mortal is lost, 1 left" in event.note]


def test_the_last_board_takes_what_is_missing_with_it_and_the_run_goes_on_later(
    tmp_path: Path, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = campaign(tmp_path, trials=TRIALS, protections=TMR)
    made: list[Mortal] = []

    def open_mortal(_target: str, _progress: object, _folders: object) -> LinkSession:
        made.append(Mortal())
        return LinkSession(made[-1], silent)

    def burn(event: ProgressEvent) -> None:
        if event.done == TRIALS:
            for host in made:
                host.burn()

    options = RunOptions(target="memory,memory")
    with monkeypatch.context() as patch:
        patch.setattr(board_pool, "open_session", open_mortal)
        with pytest.raises(PortError, match="burnt down"):
            run_campaign(described, out=tmp_path / "run", options=options, progress=burn)
    held = len(essence(read_rows(tmp_path / "run")))
    assert TRIALS <= held < TRIALS * 5
    resume_campaign(tmp_path / "run", progress=silent)
    assert essence(read_rows(tmp_path / "run")) == essence(run(described, tmp_path / "alone", "memory"))


def test_a_node_that_computes_something_else_ends_the_run(tmp_path: Path) -> None:
    experiment = experiment_of(tmp_path)

    def open_board(name: str) -> LinkSession:
        if name == "wrong":
            raise DataError("another version is installed there")
        return LinkSession(MemoryHost(), silent)

    with BoardPool(experiment, ["right", "wrong"], open_board) as pool, pytest.raises(DataError, match="version"):
        list(pool.collect(missing_of(experiment)))


def test_a_pool_that_is_left_in_the_middle_ends_its_workers(tmp_path: Path) -> None:
    experiment = experiment_of(tmp_path)
    before = threading.active_count()
    with BoardPool(experiment, ["a", "b"], lambda _: LinkSession(MemoryHost(), silent)) as pool:
        rows = pool.collect(missing_of(experiment))
        next(rows)
        rows.close()
    assert threading.active_count() == before


# ---- what a user types --------------------------------------------------------------------------------------------


def test_the_command_takes_a_target_for_each_board(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_campaign(tmp_path, trials=5, protections=TMR)
    (tmp_path / "bench.toml").write_text("".join(f'[[board]]\nname = "{name}"\nurl = "memory"\n' for name in "ab"))
    words = ["run", str(path), "--target", "bench:a", "--target", "bench:b", "--out", str(tmp_path / "run")]
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["target"] == "memory,memory"
    assert main([*words[:-1], str(tmp_path / "other"), "--workers", "2"]) == 2
    assert "leave --workers" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("target", "part"),
    [
        ("sim,bench:a", "would be mixed"),
        ("bench:a,bench:a", "each board of a pool once"),
        ("bench:a,", "no such target"),
        ("pty,ptyy", "did you mean 'pty'"),
    ],
)
def test_pools_that_cannot_be(target: str, part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        check_target(target, "--target")
