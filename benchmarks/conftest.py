"""Collect ``bench_*.py`` and give each benchmark both sides of each contest of its file."""

from __future__ import annotations

import pytest

from benchmarks.contest import NotMeasurable


def pytest_collect_file(file_path, parent):
    if file_path.name.startswith("bench_") and file_path.suffix == ".py" and not parent.session.isinitpath(file_path):
        return pytest.Module.from_parent(parent, path=file_path)
    return None


def pytest_generate_tests(metafunc):
    if "side" in metafunc.fixturenames:
        contests = metafunc.module.CONTESTS
        cases = [(contest, which) for contest in contests for which in ("ours", "reference")]
        metafunc.parametrize("side", cases, ids=["-".join(case) for case in cases], indirect=True)


@pytest.fixture
def side(request):
    """One side of a contest, ready to be called; what has a budget for a reference has nothing to time there."""
    name, which = request.param
    try:
        with request.module.CONTESTS[name]() as contest:
            call = getattr(contest, which)
            if isinstance(call, float):
                pytest.skip(f"the reference is a budget of {call} s")
            yield call
    except NotMeasurable as missing:
        pytest.skip(str(missing))
