"""The plugin as a user's tests see it, in a pytest of its own; the assertion also against exact probabilities."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from xml.etree import ElementTree

import pytest
from scipy import stats

from firmware_bridge.errors import ConfigError
from firmware_bridge.transport import Listener, listen_tcp
from hil.report.summary import summarise
from hil.targets import hosts, link_session
from hil.targets.turns import turn
from hil.testing import MeasuredCampaign
from node.jit import CACHE_DIRECTORY
from tests.campaigns import write_campaign
from tests.fake_node import FakeNode, serve_fake
from tests.hil.synthetic_results import header, task, trial, write

pytest_plugins = ["pytester"]

TMR = '\n[[protection]]\nname = "tmr"\ncode = "tmr"\n'
ALONE = ("-p", "no:xdist", "-p", "no:cacheprovider")
USERS_TESTS = """
from firmware_bridge.errors import ConfigError
import pytest

def test_null_never_fails(hil_campaign):
    measured = hil_campaign("campaign.toml")
    measured["null"].assert_rate_below("failure", 0.6)

def test_the_same_run_again(hil_campaign):
    hil_campaign("campaign.toml")["none"].assert_rate_below("failure", 0.001)

def test_unknown_names(hil_campaign):
    with pytest.raises(ConfigError, match="'tmr'"):
        hil_campaign("campaign.toml")["tmrr"]

def test_node(hil_node):
    assert hil_node.url == "sim"
    assert hil_node.facts()["throttle_actuator"]
"""


def measured(tmp_path: Path, events: int, trials: int = 200) -> MeasuredCampaign:
    rows = [trial("none", number, "SDC_CRITICAL" if number < events else "MASKED") for number in range(trials)]
    write(tmp_path, header(task("none", "none"), task("tmr"), trials=trials), *rows)
    return MeasuredCampaign(directory=tmp_path, summary=summarise(tmp_path))


# ---- the assertion ---------------------------------------------------------------------------------------------------


def passes(campaign: MeasuredCampaign, limit: float, confidence: float = 0.95) -> bool:
    try:
        campaign["none"].assert_rate_below("SDC_CRITICAL", limit, confidence)
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize(("limit", "confidence"), [(0.05, 0.95), (0.01, 0.9), (0.3, 0.99)])
def test_a_rate_at_the_limit_rarely_passes(tmp_path: Path, limit: float, confidence: float) -> None:
    """Exact: every number of events is weighted with its probability where the true rate is the limit itself."""
    most = -1
    for events in range(60):
        if not passes(measured(tmp_path / str(events), events, 60), limit, confidence):
            break
        most = events
    wrongly = float(stats.binom.cdf(most, 60, limit))
    assert wrongly <= 1.0 - confidence + 1e-12
    one_more = float(stats.binom.cdf(most + 1, 60, limit))
    assert one_more > 1.0 - confidence, "the assertion asks for more than its confidence needs"


def test_the_failure_is_the_evidence(tmp_path: Path) -> None:
    with pytest.raises(AssertionError) as caught:
        measured(tmp_path, 7)["none"].assert_rate_below("sdc", 0.05)
    text = str(caught.value)
    for words in (
        "sdc is not shown to be below 0.0500",
        "0.95 confidence), best 0.0350",
        "7 in 200 strikes on shared cells",
        "SDC_CRITICAL 7",
        "seed 7",
        f"hil replay {tmp_path} 'none' 0",
    ):
        assert words in text
    assert text.count("hil replay") == 5


def test_too_few_trials_are_no_proof(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="more trials"):
        measured(tmp_path, 0, 10)["none"].assert_rate_below("sdc", 0.05)
    with pytest.raises(AssertionError, match="no trial was run"):
        measured(tmp_path / "b", 0)["tmr"].assert_rate_below("sdc", 0.05)


@pytest.mark.parametrize(
    ("outcome", "limit", "confidence", "words"),
    [
        ("SDC_CRITCAL", 0.1, 0.95, "did you mean 'SDC_CRITICAL'"),
        ("sdc", 0.0, 0.95, "limit above 0"),
        ("sdc", 0.1, 0.5, "confidence between"),
        ("sdc", 0.1, 1.0, "confidence between"),
    ],
)
def test_senseless_questions_are_refused(
    tmp_path: Path, outcome: str, limit: float, confidence: float, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        measured(tmp_path, 0)["none"].assert_rate_below(outcome, limit, confidence)


# ---- in a pytest of its own ------------------------------------------------------------------------------------------


def test_users_tests_run_a_campaign_once_and_leave_properties(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A pytester has a home of its own, and would compile every kernel there.
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(CACHE_DIRECTORY.parent))
    write_campaign(pytester.path, trials=12, protections=TMR)
    pytester.makepyfile(USERS_TESTS)
    done = pytester.runpytest_subprocess("--junitxml=junit.xml", "--hil-trials=8", "--hil-out=kept", "-p", "no:xdist")
    done.assert_outcomes(passed=3, failed=1)
    done.stdout.fnmatch_lines(["*none: failure is not shown to be below 0.00100*", "*in 8 strikes on shared cells*"])
    assert (pytester.path / "kept" / "campaign" / "report.html").exists()
    cases = {case.get("name"): case for case in ElementTree.parse(pytester.path / "junit.xml").iter("testcase")}
    for name in ("test_null_never_fails", "test_the_same_run_again"):
        held = {each.get("name"): each.get("value") for each in cases[name].iter("property")}
        assert (held["hil_target"], held["hil_seed"], held["hil_trials"]) == ("sim", "7", "8")
        assert held["hil_version_flightnode"]
    assert not list(cases["test_node"].iter("property"))


def test_every_test_runs_on_each_of_eight_boards(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        "said = []\n"
        "def test_on_the_board(hil_node, hil_target):\n"
        "    assert hil_node.telemetry().state == 'ready'\n    assert hil_node.url == hil_target\n"
        "    said.append(hil_target)\n"
        "def test_without_a_board():\n    assert len(set(said)) == 8\n"
    )
    with ExitStack() as open_listeners:
        boards = [open_listeners.enter_context(listen_tcp()) for _ in range(8)]
        # Each answers twice, to the question whether it is there and to the test.
        serving = [threading.Thread(target=serve_two_hosts, args=(board,)) for board in boards]
        for thread in serving:
            thread.start()
        targets = [f"--hil-target=tcp://127.0.0.1:{board.port}" for board in boards]
        done = pytester.runpytest_inprocess(*targets, *ALONE)
        for thread in serving:
            thread.join(20)
    done.assert_outcomes(passed=9)


def serve_two_hosts(listener: Listener) -> None:
    """One after the other, each until it hangs up."""
    for _ in range(2):
        with FakeNode(listener.accept(20.0)) as node:
            node._thread.join(20)


def test_two_who_want_a_board_have_it_in_turns() -> None:
    """As two workers of xdist do."""
    at_work, most, lock = 0, 0, threading.Lock()

    def work() -> None:
        nonlocal at_work, most
        for target in ("tcp://127.0.0.1:1,bench:left", "bench:left,tcp://127.0.0.1:1", "sim,bench:left"):
            with turn(target):
                with lock:
                    at_work += 1
                    most = max(most, at_work)
                time.sleep(0.02)
                with lock:
                    at_work -= 1

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    with turn("bench:right"), turn("sim"):
        for thread in threads:
            thread.join(20)
    assert most == 1


def test_an_absent_board_skips_with_its_reason(pytester: pytest.Pytester) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        pytester.makepyfile("def test_on_the_board(hil_node): pass\ndef test_too(hil_campaign): pass\n")
        done = pytester.runpytest_inprocess(f"--hil-target={url}", "-rs", *ALONE)
    done.assert_outcomes(skipped=2)
    done.stdout.fnmatch_lines([f"SKIPPED*{url} is absent: *"])


def test_a_board_of_the_bench_file_comes_with_its_power_hooks(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node answers twice, to the question whether it is there and to the test, and is gone then."""
    monkeypatch.setattr(link_session, "RETURN_TIMEOUT_S", 0.1)
    monkeypatch.setattr(hosts, "RECOVER_S", 0.1)
    pytester.makepyfile(
        "from firmware_bridge.errors import PortError\nimport pytest\n"
        "def test_on_the_board(hil_node):\n"
        "    assert hil_node.url.startswith('tcp://')\n"
        "    with pytest.raises(PortError, match='ended with 7: unplugged'):\n        hil_node.restart()\n"
    )
    with listen_tcp() as listener:
        (pytester.path / "bench.toml").write_text(
            f'[[board]]\nname = "pi"\nurl = "tcp://127.0.0.1:{listener.port}"\n'
            'power = { cycle = "echo unplugged; exit 7" }\n'
        )
        serving = threading.Thread(target=lambda: [serve_fake(listener), serve_fake(listener), listener.close()])
        serving.start()
        done = pytester.runpytest_inprocess("--hil-target=bench:pi", *ALONE)
    serving.join(20)
    done.assert_outcomes(passed=1)


def test_a_board_that_nobody_described_is_an_error(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_on_the_board(hil_node): pass\n")
    done = pytester.runpytest_inprocess("--hil-target=bench:nobody", *ALONE)
    done.assert_outcomes(errors=1)


def test_the_plugin_costs_other_users_of_pytest_nothing(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        "import sys\ndef test_light():\n    loaded = {'numpy', 'numba', 'onnx', 'msgspec'} & set(sys.modules)\n"
        "    assert not loaded\n"
    )
    done = pytester.runpytest_subprocess("-p", "no:hypothesispytest", "-p", "no:xdist")
    done.assert_outcomes(passed=1)
