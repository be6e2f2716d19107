"""The benchmark framework: ratios from a clock of our own, goals from files, exit codes."""

import importlib
from contextlib import contextmanager

import crcmod.crcmod
import pytest

import benchmarks.__main__ as command
from benchmarks.contest import LEAST_REPEATS, REPEATS, Contest, NotMeasurable, Ratio, Work, measure
from benchmarks.goals import GROUPS, Goal, read_goals
from firmware_bridge.errors import ConfigError

FLOOR = """
[[goal]]
group = "ecc"
name = "a"
what = "something"
ratio = 2.0
"""


class Clock:
    """Time passes only when something is called."""

    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s

    def taking(self, *durations_s):
        """Give something to call that takes these times in turn, over and over."""
        calls = [0]

        def call():
            self.now_s += durations_s[calls[0] % len(durations_s)]
            calls[0] += 1

        return call


def goal(**changed):
    return Goal(**({"group": "ecc", "name": "a", "what": "something", "ratio": 2.0} | changed))


# ---- measuring -----------------------------------------------------------------------------------------------


def test_a_ratio_is_reference_over_ours():
    clock = Clock()
    found = measure(Contest(ours=clock.taking(0.1), reference=clock.taking(0.3), clock=clock))
    assert found.median == pytest.approx(3.0)
    assert (found.low, found.high) == pytest.approx((3.0, 3.0))
    assert found.ours_s == pytest.approx(0.1)
    assert found.repeats == REPEATS


def test_short_calls_are_repeated_within_a_sample():
    clock = Clock()
    found = measure(Contest(ours=clock.taking(1e-6), reference=clock.taking(2e-6), clock=clock))
    assert found.median == pytest.approx(2.0)
    assert found.ours_s == pytest.approx(1e-6)
    assert clock.now_s > REPEATS * 0.01


def test_more_work_a_call_counts():
    clock = Clock()
    found = measure(Contest(ours=clock.taking(0.1), reference=clock.taking(0.1), work=5.0, clock=clock))
    assert found.median == pytest.approx(5.0)


def test_a_budget_stands_in_for_a_reference():
    clock = Clock()
    assert measure(Contest(ours=clock.taking(0.02), reference=0.05, clock=clock)).median == pytest.approx(2.5)


def test_the_spread_is_that_of_the_middle_half():
    clock = Clock()
    found = measure(Contest(ours=clock.taking(1.0, 2.0, 4.0), reference=clock.taking(1.0), clock=clock))
    assert (found.low, found.median, found.high) == (0.25, 0.5, 1.0)


def test_a_slow_contest_ends_after_its_least_repeats(monkeypatch):
    monkeypatch.setattr("benchmarks.contest.PATIENCE_S", 0.0)
    clock = Clock()
    assert measure(Contest(ours=clock.taking(1.0), reference=1.0, clock=clock)).repeats == LEAST_REPEATS


# ---- goals ---------------------------------------------------------------------------------------------------


def test_every_goal_has_a_contest_and_every_contest_a_goal():
    goals = read_goals()
    assert {goal.group for goal in goals} == set(GROUPS)
    for group in GROUPS:
        wanted = {goal.contest for goal in goals if goal.group == group}
        assert wanted == set(importlib.import_module(f"benchmarks.bench_{group}").CONTESTS), group


def test_every_group_has_two_goals_that_count():
    counted = [goal.group for goal in read_goals() if not goal.stretch]
    assert min(counted.count(group) for group in GROUPS) >= 2


@pytest.mark.parametrize(
    ("text", "message"),
    (
        (FLOOR + 'better = "lower"\n', "unknown keys"),
        (FLOOR.replace("ratio = 2.0", ""), "missing"),
        (FLOOR.replace("ecc", "eec"), "choose from inference"),
        (FLOOR.replace("2.0", "0.0"), "above 0"),
        (FLOOR + FLOOR, "there twice"),
    ),
)
def test_a_wrong_goals_file_is_refused(tmp_path, text, message):
    path = tmp_path / "goals.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_goals(path)


def test_what_a_machine_lacks_is_named(monkeypatch):
    monkeypatch.setattr("benchmarks.goals._cpu_flags", lambda: frozenset({"sse2"}))
    assert goal(requires=("cpu:sse2", "module:numpy")).missing() is None
    assert goal(requires=("cpu:sse2", "cpu:avx9")).missing() == "this CPU has no avx9"
    assert goal(requires=("module:no_such_package",)).missing() == "the package no_such_package is not installed"
    with pytest.raises(ConfigError, match="cannot require"):
        goal(requires=("disk",)).missing()
    assert goal(requires=("command:sh",)).missing() is None
    assert goal(requires=("command:no-such-program",)).missing() == "the program no-such-program is not installed"


# ---- the command ---------------------------------------------------------------------------------------------


@contextmanager
def fixed(ratio):
    clock = Clock()
    yield Contest(ours=clock.taking(1.0), reference=ratio, clock=clock)


@contextmanager
def impossible():
    raise NotMeasurable("there is no disk")
    yield


@pytest.mark.parametrize(
    ("changed", "ratio", "failed", "said"),
    (
        ({}, 3.0, False, "goal 2.00 met by 50%"),
        ({}, 1.5, True, "goal 2.00 missed by 25%"),
        ({"stretch": True}, 1.5, False, "stretch goal 2.00 missed by 25%"),
        ({"requires": ("cpu:avx9",)}, 1.5, False, "cannot be measured here: this CPU has no avx9"),
    ),
)
def test_a_finding_says_by_how_much(capsys, changed, ratio, failed, said):
    findings = command.find([goal(**changed)], {"ecc": {"a": lambda: fixed(ratio)}})
    assert [finding.failed for finding in findings] == [failed]
    assert said in capsys.readouterr().out


def test_rates_are_those_of_each_side(capsys):
    @contextmanager
    def counted():
        clock = Clock()
        work = Work(unit="faults", ours=50, reference=2, times=100, of_each="evaluations", note="all alike")
        yield Contest(ours=clock.taking(0.5), reference=clock.taking(0.1), work=25, clock=clock, counted=work)

    command.find([goal()], {"ecc": {"a": counted}})
    said = capsys.readouterr().out
    assert "ours 100 faults/s = 10,000 evaluations/s; reference 20 faults/s = 2,000 evaluations/s" in said
    assert said.rstrip().endswith("100 evaluations each; all alike")


def test_what_cannot_be_measured_is_said_and_does_not_fail(capsys):
    findings = command.find([goal()], {"ecc": {"a": impossible}})
    assert not findings[0].failed
    assert "cannot be measured here: there is no disk" in capsys.readouterr().out


def test_goals_that_share_a_contest_are_measured_once():
    opened = []

    def contest():
        opened.append(1)
        return fixed(3.0)

    command.find([goal(), goal(name="b", contest="a", ratio=5.0)], {"ecc": {"a": contest}})
    assert opened == [1]


@pytest.mark.parametrize(("measured", "code"), ((3.0, 0), (1.0, 1)))
def test_the_exit_code_is_1_when_a_goal_is_missed(monkeypatch, capsys, measured, code):
    ratio = Ratio(median=measured, low=measured, high=measured, ours_s=1e-3, reference_s=2e-3, repeats=5)
    monkeypatch.setattr(command, "read_goals", lambda: (goal(group="ecc", name="hsiao-encode"),))
    monkeypatch.setattr(command, "measure", lambda _: ratio)
    monkeypatch.setattr("benchmarks.bench_ecc.DATA_BYTES", 4096)
    assert command.main(["ecc"]) == code
    assert f"goals: 1, missed: {code}," in capsys.readouterr().out


def test_an_unknown_group_is_a_usage_error(capsys):
    assert command.main(["eec"]) == 2
    assert "choose from inference, gemm, campaign, ecc, checks, link, scrub, recovery" in capsys.readouterr().err


def test_no_figures_are_given_with_a_slow_checksum(capsys, monkeypatch):
    monkeypatch.setattr(crcmod.crcmod, "_usingExtension", False)
    assert command.main(["link"]) == 2
    assert "pip install crcmod-plus" in capsys.readouterr().err
