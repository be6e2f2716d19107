"""Fault models: presets with their published shares, JSON both ways, and errors that help."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.errors import ConfigError
from hil.strikes import PRESETS, FaultModel, preset


@pytest.mark.parametrize("name", list(PRESETS))
def test_presets_go_both_ways_and_bear_their_name(name):
    model = preset(name)
    assert model.name == name
    assert FaultModel.from_json(model.to_json()) == model
    assert pickle.loads(pickle.dumps(model)) == model
    assert name in preset.__doc__


def test_clusters_have_the_published_shares():
    shares = dict(preset("clusters").cluster_sizes)
    assert sum(shares.values()) == pytest.approx(1.0)
    assert sum(share for size, share in shares.items() if size > 1) == pytest.approx(0.277)
    assert shares[2] / shares[6] == pytest.approx(12, rel=0.01)
    assert shares[3] / shares[6] == pytest.approx(2, rel=0.01)


def test_clusters_interleaved_differ_in_the_layout_of_words_alone():
    plain, interleaved = preset("clusters"), preset("clusters_interleaved")
    assert (plain.interleave, interleaved.interleave) == (1, 8)
    assert plain.cluster_sizes == interleaved.cluster_sizes


def test_weights_are_added_up():
    model = FaultModel(name="x", cluster_sizes=((1, 3.0), (5, 1.0)))
    assert model.cumulative_weights == (3.0, 4.0)


@given(
    sizes=st.dictionaries(st.integers(1, 40), st.floats(0.001, 1000), min_size=1, max_size=6),
    across=st.floats(0, 1),
    interleave=st.integers(1, 16),
    kind=st.sampled_from(["flip", "stuck_at_0", "stuck_at_1", "stuck_at"]),
)
def test_any_model_goes_both_ways(sizes, across, interleave, kind):
    model = FaultModel(
        name="any", kind=kind, cluster_sizes=sizes, across_rows=across, row_bits=1024, interleave=interleave
    )
    assert FaultModel.from_json(model.to_json()) == model
    assert [size for size, _ in model.cluster_sizes] == sorted(sizes)
    assert hash(model) == hash(FaultModel.from_json(model.to_json()))


def test_a_table_of_a_file_starts_from_a_preset():
    model = FaultModel.from_mapping({"preset": "clusters", "name": "mine", "cluster_sizes": {"1": 1, "4": 1}})
    assert model == FaultModel(name="mine", cluster_sizes=((1, 1.0), (4, 1.0)))


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"preset": "clustrs"}, "did you mean 'clusters'"),
        ({"preset": "zzz"}, "there are single_bit, clusters"),
        ({"name": "x", "kid": "flip"}, "unknown key 'kid'; did you mean 'kind'"),
        ({"kind": "flip"}, "give a name"),
        ({"name": "x", "kind": "flop"}, "did you mean 'flip'"),
        ({"name": "x", "across_rows": 1.5}, "across_rows = 1.5"),
        ({"name": "x", "across_rows": "much"}, "wrong type"),
        ({"name": "x", "row_bits": 32}, "give 64 or more"),
        ({"name": "x", "row_bits": 128.0}, "whole number"),
        ({"name": "x", "interleave": 0}, "give 1 to 128"),
        ({"name": "x", "row_bits": 256, "interleave": 5}, "give 1 to 4"),
        ({"name": "x", "cluster_sizes": {}}, "no size has a weight"),
        ({"name": "x", "cluster_sizes": {"1": 0.0}}, "no size has a weight"),
        ({"name": "x", "cluster_sizes": {"0": 1.0}}, "sizes of 1 or more"),
        ({"name": "x", "cluster_sizes": {"1": -1.0, "2": 2.0}}, "weights of 0 or more"),
        ({"name": "x", "cluster_sizes": {"1": float("nan")}}, "weights of 0 or more"),
        ({"name": "x", "cluster_sizes": {"one": 1.0}}, "size = weight"),
        ({"name": "x", "cluster_sizes": 7}, "size = weight"),
        ({"name": "x", "cluster_sizes": [[1, 0.5], [1, 0.5]]}, "twice"),
    ],
)
def test_bad_tables_say_what_to_do(table, words):
    with pytest.raises(ConfigError, match="fault model") as caught:
        FaultModel.from_mapping(table)
    assert words in str(caught.value)
