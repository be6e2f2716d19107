"""Proofs on the (64,57) code in the data: every single and double error, what may be encoded, and how it is read."""

from itertools import combinations

import galois
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import hil
import node
import tests.naive.linear_code as slow
from firmware_bridge.errors import ConfigError, DataError
from firmware_bridge.messages import Fault, FaultKind, Run
from hil.workloads import digits
from node.ecc import CODES, DecodeReport
from node.kernels.codes.matrices import IN_PLACE_CHECKS, IN_PLACE_COLUMNS
from node.lockstep import LockstepRun

pytestmark = pytest.mark.xdist_group("codes")

CODE = CODES["in_place_64_57"]
OTHERS = [bit for bit in range(64) if bit not in IN_PLACE_CHECKS]
MATRIX = slow.parity_check(tuple(IN_PLACE_COLUMNS[bit] for bit in OTHERS), 7)
ORDER = [*OTHERS, *IN_PLACE_CHECKS]
"""Bits of a word in the order of the matrix: data, then checks."""


def weights(seed, words=1):
    data = np.random.default_rng(seed).integers(-64, 64, 8 * words).astype(np.int8)
    data[7::8] = np.random.default_rng(seed + 1).integers(-128, 128, words)
    return data


def in_order(words):
    return (words[:, None] >> np.array(ORDER, np.uint64) & np.uint64(1)).astype(int)


def test_all_64_columns_of_odd_weight_are_in_use():
    assert sorted(IN_PLACE_COLUMNS) == [column for column in range(128) if column.bit_count() % 2]
    assert [IN_PLACE_COLUMNS[bit] for bit in IN_PLACE_CHECKS] == [1, 2, 4, 8, 16, 32, 64]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-64, 63), min_size=7, max_size=7), st.integers(-128, 127))
def test_the_encoder_equals_matrix_algebra(small, large):
    data = np.array([*small, large], np.int8)
    bits = in_order(data.view(np.uint64))[0]
    CODE.encode(data)
    assert in_order(data.view(np.uint64))[0].tolist() == slow.encode(MATRIX, bits[:57]).tolist()


def test_every_codeword_lies_in_the_null_space():
    """Against galois: the words of each single data bit, with both bits of a sign where it is one, and full rank."""
    data = np.zeros((57, 8), np.int8)
    for row, bit in enumerate(OTHERS):
        twin = bit % 8 == 7 and bit < 56
        data[row].view(np.uint64)[0] = (1 << bit) | ((1 << bit - 1) if twin else 0)
    CODE.encode(data)
    generator = galois.GF2(in_order(data.view(np.uint64).reshape(-1)))
    assert not (generator @ galois.GF2(MATRIX).T).any()
    assert np.linalg.matrix_rank(generator) == 57


@pytest.mark.parametrize("seed", (0, 1))
def test_all_64_singles_are_corrected_and_all_2016_doubles_detected(seed):
    golden = weights(seed)
    CODE.encode(golden)
    for weight, count in ((1, 64), (2, 2016)):
        data = np.repeat(golden.view(np.uint64), count)
        for place, bits in enumerate(combinations(range(64), weight)):
            data[place] ^= np.uint64(sum(1 << bit for bit in bits))
        struck = data.copy()
        assert CODE.check(data, np.zeros(0, np.uint8)) == DecodeReport(words=count, detected=count)
        report = CODE.correct(data, np.zeros(0, np.uint8))
        if weight == 1:
            assert report == DecodeReport(words=64, corrected=64)
            assert (data == golden.view(np.uint64)[0]).all()
        else:
            assert report == DecodeReport(words=2016, detected=2016)
            assert (data == struck).all()


def test_all_41664_triples_are_repaired_wrongly_four_for_each_word_of_weight_four():
    golden = weights(2)
    CODE.encode(golden)
    masks = np.array([sum(1 << bit for bit in bits) for bits in combinations(range(64), 3)], np.uint64)
    data = golden.view(np.uint64)[0] ^ masks
    assert CODE.correct(data, np.zeros(0, np.uint8)).corrected == 41664
    assert (data != golden.view(np.uint64)[0]).all()
    columns = IN_PLACE_COLUMNS
    fours = sum(columns[a] ^ columns[b] ^ columns[c] in columns for a, b, c in combinations(range(64), 3)) // 4
    assert 4 * fours == 41664


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**64 - 1))
def test_the_decoder_equals_a_search_over_all_columns(word):
    data = np.array([word], np.uint64)
    report = CODE.correct(data, np.zeros(0, np.uint8))
    repaired, verdict = slow.decode(MATRIX, in_order(np.array([word], np.uint64))[0])
    assert report == DecodeReport(1, verdict == "corrected", verdict == "detected")
    assert in_order(data)[0].tolist() == repaired.tolist()


@pytest.mark.parametrize("place", range(8))
@pytest.mark.parametrize("value", (-128, -65, -64, 63, 64, 127))
def test_only_the_eighth_byte_may_be_large(place, value):
    data = weights(3, 4)
    data[16 + place] = value
    before = data.copy()
    if place == 7 or -64 <= value <= 63:
        CODE.encode(data)
        with CODE.opened(data.view(np.uint8)):
            assert (data == before).all()
    else:
        with pytest.raises(DataError, match=f"byte {16 + place} is {value}:"):
            CODE.encode(data)
        assert (data == before).all()


@pytest.mark.parametrize("size", (1, 7, 9, 4095))
def test_a_size_that_is_no_whole_number_of_words_is_refused_by_every_verb(size):
    data, check = np.zeros(size, np.uint8), np.zeros(0, np.uint8)
    for verb in (lambda: CODE.encode(data), lambda: CODE.check(data, check), lambda: CODE.correct(data, check)):
        with pytest.raises(DataError, match=f"{size} bytes"):
            verb()
    assert not data.any()


def test_what_changes_while_the_data_are_open_stays_but_for_the_check_bits():
    data = weights(4, 2)
    plain = data.copy()
    CODE.encode(data)
    covered = data.copy()
    with pytest.raises(ZeroDivisionError), CODE.opened(data.view(np.uint8)):
        data[3] ^= 1
        data[5] ^= 64
        raise ZeroDivisionError
    assert np.flatnonzero(data != covered).tolist() == [3]
    assert data[3] == covered[3] ^ 1
    assert CODE.correct(data, np.zeros(0, np.uint8)) == DecodeReport(words=2, corrected=1)
    with CODE.opened(data.view(np.uint8)):
        assert (data == plain).all()


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """A layer of 8 x 8 weights whose four bytes, as it happens, all lie between -64 and 63."""
    values = np.random.default_rng(5).choice(np.array([0.5, 0.125, 0.625, 0.03125], np.float32), (8, 8))
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w"], ["y"])],
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8])],
        [numpy_helper.from_array(values, "w")],
    )
    path = tmp_path_factory.mktemp("in_place") / "layer.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return hil.compile_model(path)


def test_a_computer_computes_with_the_weights_as_they_were_and_repairs_them(image):
    sample = {"x": np.arange(8, dtype=np.float32).reshape(1, 8)}
    with node.Computer(image) as plain:
        golden = plain.infer(sample)["y"]
    protection = node.Protection(code="in_place_64_57", checkpoint_period=1)
    with node.Computer(image, protection=protection) as computer:
        assert "check.weights" not in computer.layout
        assert computer.layout.arena_bytes == node.layout_of(image, node.Protection()).arena_bytes
        stored = computer.arena.view("weights").copy()
        assert stored.tobytes() != image.weights
        assert np.array_equal(computer.infer(sample)["y"], golden)
        for bit in range(8 * stored.size):
            computer.arena.flip("weights", bit)
            assert computer.scrub() == DecodeReport(words=stored.size // 8, corrected=1)
        computer.checkpoint()
        for put_back in (computer.reload, computer.restore, computer.reset):
            computer.arena.view("weights")[:] ^= 3
            put_back()
            assert (computer.arena.view("weights") == stored).all()
            assert np.array_equal(computer.infer(sample)["y"], golden)


def test_a_strike_inside_an_inference_is_repaired_before_the_next(image):
    samples = [{"x": np.ones((1, 8), np.float32)}]
    fault = Fault(strike=0, region="weights", bit=8 * 11 + 5, kind=FaultKind.FLIP, inference=0, step=0)
    run = Run(run_id=1, inputs=(0, 0), faults=(fault,))
    with node.Computer(image, protection=node.Protection(code="in_place_64_57")) as computer:
        golden = computer.infer(samples[0])["y"].tobytes()
        result = LockstepRun(computer, samples, run).execute()
    assert [inference.output == golden for inference in result.inferences] == [False, True]
    assert result.corrected_words == 1


def test_a_model_that_does_not_fit_is_refused_before_anything_runs(image):
    digits_image = hil.compile_model(digits("int8").model_path)
    protection = node.Protection(code="in_place_64_57")
    with pytest.raises(ConfigError, match=r"'weights' of image 'digits_int8'.*bytes"):
        node.layout_of(digits_image, protection)
    with pytest.raises(ConfigError, match=r"region 'steps'.*between -64 and 63"):
        node.layout_of(image, node.Protection(code="in_place_64_57", regions=("steps",)))
