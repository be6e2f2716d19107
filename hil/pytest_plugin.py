"""The pytest plugin: campaigns and nodes as fixtures of a user's own tests.

``pytest --hil-target URL`` says where they run: ``sim`` (the default), ``pty``, a board, or one of bench.toml; given
several times, every test runs on each of these nodes. A test whose board is absent is skipped, with the reason. What a
test measured goes into the JUnit file as properties.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from hil.campaign.collect import RunOptions
    from hil.targets.session import Session
    from hil.testing import MeasuredCampaign

RunCampaign = Callable[..., "MeasuredCampaign"]

_finished = pytest.StashKey[dict[tuple[str, str, int | None], "MeasuredCampaign"]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the plugin."""
    group = parser.getgroup("hil", "flightnode: radiation campaigns")
    group.addoption(
        "--hil-target",
        action="append",
        metavar="URL",
        help="Where: sim, pty, serial:///dev/..., bench:NAME; again: every test on each of them [default: sim].",
    )
    group.addoption("--hil-trials", type=int, metavar="N", help="Trials per protection, instead of the campaign's.")
    group.addoption("--hil-out", metavar="DIR", help="Keep the results of campaigns here [default: temporary].")


def pytest_configure(config: pytest.Config) -> None:
    """Make room for the campaigns that were run, so that several tests can look at one."""
    config.stash[_finished] = {}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Have each test that needs a node run on every node named."""
    named = _targets(metafunc.config)
    if "hil_target" in metafunc.fixturenames and len(named) > 1:
        metafunc.parametrize("hil_target", named, ids=named, indirect=True, scope="session")


def _targets(config: pytest.Config) -> tuple[str, ...]:
    """Give what ``--hil-target`` names, each once."""
    return tuple(dict.fromkeys(config.getoption("--hil-target") or ["sim"]))


@pytest.fixture(scope="session")
def hil_target(request: pytest.FixtureRequest, pytestconfig: pytest.Config) -> Iterator[str]:
    """Give the target; skip where a board is named that does not answer. Workers of xdist have a board in turns."""
    from firmware_bridge.errors import LinkLost, PortError
    from hil.boards.bench_file import plain_target
    from hil.progress import silent
    from hil.targets.target import can_be_multiplied, open_session
    from hil.targets.turns import turn

    named = getattr(request, "param", _targets(pytestconfig)[0])
    target = plain_target(named, _desks(pytestconfig))
    with turn(target):
        try:
            if not can_be_multiplied(target):
                open_session(target, silent, _desks(pytestconfig)).close()
        except (PortError, LinkLost) as error:
            pytest.skip(f"{named} is absent: {error}")
        yield target


@pytest.fixture(scope="session")
def hil_node(hil_target: str, pytestconfig: pytest.Config) -> Iterator[Session]:
    """Give an open session with the node of ``--hil-target``: load, configure, run, as campaigns do.

    A board of bench.toml that falls silent is brought back by its power hooks.
    """
    from hil.progress import silent
    from hil.targets.target import open_session

    with open_session(hil_target, silent, _desks(pytestconfig)) as session:
        yield session


def _desks(config: pytest.Config) -> tuple[Path, ...]:
    """Give the folders where bench.toml may be."""
    return config.rootpath, Path.cwd()


@pytest.fixture
def hil_campaign(
    request: pytest.FixtureRequest, hil_target: str, tmp_path_factory: pytest.TempPathFactory
) -> RunCampaign:
    """Give ``run(path, trials=None) -> MeasuredCampaign``; a path is relative to the test's file.

    A campaign is run once in a session, on the node of ``--hil-target``; tests that ask for it again get the same
    results.
    """
    from hil.boards.bench_file import BENCH_FILE
    from hil.campaign.collect import RunOptions

    def run(path: str | Path, trials: int | None = None) -> MeasuredCampaign:
        config = request.config
        file = (request.path.parent / path).resolve()
        wanted = config.getoption("--hil-trials") or trials
        key = (str(file), hil_target, wanted)
        if key not in config.stash[_finished]:
            kept = config.getoption("--hil-out")
            name = f"{file.stem}-{len(config.stash[_finished])}"
            out = Path(kept) / _folder(file.stem, hil_target, config) if kept else tmp_path_factory.mktemp("hil") / name
            options = RunOptions(target=hil_target, trials=wanted)
            desk = next((folder for folder in _desks(config) if (folder / BENCH_FILE).exists()), None)
            config.stash[_finished][key] = _run(file, options, out, desk)
        measured = config.stash[_finished][key]
        request.node.user_properties.extend(_properties(measured))
        return measured

    return run


def _folder(campaign: str, target: str, config: pytest.Config) -> str:
    """Give a name for results: of the campaign, and of the node where there are several."""
    if len(_targets(config)) == 1:
        return campaign
    return f"{campaign}-{re.sub(r'[^A-Za-z0-9._-]+', '-', target)}"


def _run(file: Path, options: RunOptions, out: Path, desk: Path | None) -> MeasuredCampaign:
    from hil.campaign.collect import run_campaign
    from hil.campaign.configuration import load_campaign
    from hil.progress import silent
    from hil.report import summarise, write_report
    from hil.testing import MeasuredCampaign

    run_campaign(load_campaign(file).changed(desk=desk), out=out, options=options, progress=silent)
    write_report(out)
    return MeasuredCampaign(directory=out, summary=summarise(out))


def _properties(measured: MeasuredCampaign) -> Iterator[tuple[str, object]]:
    """Give what a reader of the JUnit file needs to repeat the test."""
    header = measured.summary.header
    yield "hil_campaign", header.name
    yield "hil_target", header.target
    yield "hil_seed", header.seed
    yield "hil_trials", header.trials
    yield "hil_strike_key", header.strike_key
    yield "hil_model_digest", header.model_digest
    yield "hil_results", str(measured.directory)
    for name, version in sorted(header.versions.items()):
        yield f"hil_version_{name}", version
