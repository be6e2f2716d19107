from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge import messages as m
from firmware_bridge.bridge import Bridge
from firmware_bridge.channel import Channel
from firmware_bridge.conversation import exchanges, frames_of, listen
from firmware_bridge.errors import ConfigError, DataError, Refused
from firmware_bridge.framing import encode_frame
from firmware_bridge.line import LineSpec, NoisyLine
from firmware_bridge.loading import BlobKind, LoadChunk
from firmware_bridge.playback import PlayedNode, play_to_node
from firmware_bridge.transcript import FOLDER_VARIABLE, Direction, Recorder, Transcript, read_transcript
from firmware_bridge.transport import memory_pair
from tests.fake_node import FakeNode

PASSED = st.lists(
    st.tuples(
        st.sampled_from([Direction.SENT, Direction.RECEIVED]),
        st.binary(min_size=1, max_size=80),
        st.integers(0, 3_000_000),
    ),
    max_size=40,
)


def record(path: Path, passed, start_s: float = 5.0) -> Transcript:
    recorder = Recorder(path.open("wb"), "host", start_s)
    now_s = start_s
    for direction, data, gap_us in passed:
        now_s += gap_us / 1e6
        recorder.passed(direction, data, now_s)
    recorder.close()
    return read_transcript(path)


@given(passed=PASSED)
def test_every_byte_is_kept_in_order_with_times_that_never_go_back(tmp_path_factory, passed):
    transcript = record(tmp_path_factory.mktemp("t") / "x", passed)
    assert transcript.role == "host"
    for direction in (Direction.SENT, Direction.RECEIVED):
        held = b"".join(each.data for each in transcript.records if each.direction is direction)
        assert held == b"".join(data for way, data, _ in passed if way is direction)
    times = [each.time_us for each in transcript.records]
    assert times == sorted(times)
    if times:
        assert times[-1] <= sum(gap for _, _, gap in passed) + 1


def test_stamps_are_microseconds(tmp_path):
    frame = encode_frame(b"a packet")
    transcript = record(tmp_path / "x", [(Direction.SENT, frame, 7), (Direction.RECEIVED, frame, 1_234_567)])
    assert [each.time_us for each in transcript.records] == [7, 1_234_574]


@pytest.mark.parametrize(("body_bytes", "piece"), [(16, 1), (16, 64), (64, 1), (64, 7), (1000, 100)])
def test_a_transcript_is_at_most_a_fifth_longer_than_the_traffic(tmp_path, body_bytes, piece):
    frame = encode_frame(bytes(range(1, 17)) * (body_bytes // 16))
    pieces = [frame[at : at + piece] for at in range(0, len(frame), piece)]
    record(tmp_path / "x", [(Direction(number % 2), part, 80) for number in range(400) for part in pieces])
    assert (tmp_path / "x").stat().st_size <= 1.2 * 400 * len(frame)


def test_a_transcript_that_was_cut_short_is_read_up_to_there(tmp_path):
    path = tmp_path / "x"
    whole = record(path, [(Direction.SENT, encode_frame(bytes([1]) * size), 400) for size in range(10, 60)])
    data = path.read_bytes()
    for end in range(14, len(data), 5):
        path.write_bytes(data[:end])
        found = read_transcript(path).records
        assert found == whole.records[: len(found)]


@pytest.mark.parametrize("data", [b"", b"FNTR", b"FNTR\x01\x09" + bytes(8), b"\x7fELF" + bytes(40)])
def test_another_file_is_refused(tmp_path, data):
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(DataError, match="no transcript"):
        read_transcript(tmp_path / "x")


def test_a_record_of_unknown_kind_is_damage(tmp_path):
    record(tmp_path / "x", [])
    with (tmp_path / "x").open("ab") as file:
        file.write(b"\x03\x01a")
    with pytest.raises(DataError, match="damaged"):
        read_transcript(tmp_path / "x")


def test_a_folder_in_the_environment_makes_every_channel_record(tmp_path, monkeypatch):
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    near, far = memory_pair()
    with FakeNode(far), Bridge(established(Channel(near, "host"))) as bridge:
        bridge.hello()
    roles = {read_transcript(path).role for path in tmp_path.iterdir()}
    assert roles == {"host", "node"}
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="make that folder"):
        Recorder.from_environment("host", 0.0)


# ---- conversations and playback ---------------------------------------------------------------------------------


def established(channel: Channel) -> Channel:
    channel.wait_established(10.0)
    return channel


def do_things(bridge: Bridge, celsius: float = 25.0) -> None:
    bridge.hello()
    bridge.load(BlobKind.IMAGE, bytes(range(256)) * 40)
    bridge.set_temperature(celsius)
    list(bridge.run_many([m.Run(run_id=number, inputs=(number,)) for number in range(12)]))
    bridge.telemetry()


@pytest.fixture
def recorded(tmp_path) -> Transcript:
    """What passes on a line that loses bits, at the host's end."""
    path = tmp_path / "session"
    spec = LineSpec(bit_error_rate=3e-5, baud=3_000_000)
    with NoisyLine(spec, seed=4) as line, FakeNode(line.far):
        channel = Channel(line.near, "host", recorder=Recorder(path.open("wb"), "host", 0.0))
        with Bridge(established(channel)) as bridge:
            do_things(bridge)
            assert bridge.stats.retransmitted > 0
    return read_transcript(path)


def test_a_conversation_is_heard_whole_and_once(recorded):
    said = list(listen(recorded))
    requests = [each.message for each in said if each.from_host]
    assert [type(each) for each in requests].count(LoadChunk) == 3
    assert [each.run_id for each in requests if isinstance(each, m.Run)] == list(range(12))
    assert all(each.reply is not None for each in exchanges(said))
    numbers = [number for number, _, _ in frames_of(recorded)]
    assert numbers == sorted(set(numbers))
    assert {each.frame for each in said} <= set(numbers)


def test_the_transcript_of_a_real_session_is_at_most_a_fifth_longer_than_the_traffic(tmp_path):
    """Questions and answers with pauses between them have the shortest frames and the longest stamps."""
    path = tmp_path / "slow"
    near, far = memory_pair()
    channel = Channel(near, "host", recorder=Recorder(path.open("wb"), "host", 0.0))
    with FakeNode(far), Bridge(established(channel)) as bridge:
        for pause_s in (0.0, 0.0, 0.001, 0.02, 0.3):
            bridge.telemetry()
            channel.poll(pause_s)
    traffic = sum(len(each.data) for each in read_transcript(path).records)
    assert traffic > 500
    assert path.stat().st_size <= 1.2 * traffic


def test_a_node_that_answers_the_same_does_not_diverge(recorded):
    near, far = memory_pair()
    with FakeNode(far), Bridge(established(Channel(near, "host"))) as bridge:
        assert list(play_to_node(exchanges(listen(recorded)), bridge)) == []


def test_a_node_that_answers_otherwise_is_named_by_the_frame(recorded):
    def wrong(node, message):
        return m.Failed(text="no") if isinstance(message, m.Run) and message.run_id == 7 else None

    near, far = memory_pair()
    with FakeNode(far, wrong), Bridge(established(Channel(near, "host"))) as bridge:
        (found,) = play_to_node(exchanges(listen(recorded)), bridge)
    (frame,) = [
        each.frame for each in listen(recorded) if isinstance(each.message, m.RunResult) and each.message.run_id == 7
    ]
    assert str(found).startswith(f"frame {frame}: RunResult was recorded, Failed came")


def test_a_field_that_differs_is_named_and_times_are_not(recorded):
    exchange = next(each for each in exchanges(listen(recorded)) if isinstance(each.asked, m.Run))

    def changed(node, message):
        if not isinstance(message, m.Run) or message.run_id != 0:
            return None
        reply = exchange.reply.message
        return type(reply)(**{**vars(reply), "corrected_words": 99, "elapsed_us": 123_456, "board_c": 1.0})

    near, far = memory_pair()
    with FakeNode(far, changed), Bridge(established(Channel(near, "host"))) as bridge:
        (found,) = play_to_node([exchange], bridge)
    assert "corrected_words was" in str(found)
    assert "elapsed_us" not in str(found)
    assert "board_c" not in str(found)


def test_a_host_that_does_the_same_gets_the_same_answers(recorded):
    near, far = memory_pair()
    with (
        PlayedNode(far, exchanges(listen(recorded))) as node,
        Bridge(established(Channel(near, "host"))) as bridge,
    ):
        do_things(bridge)
        assert node.divergence is None
        with pytest.raises(Refused, match="transcript ends before this Scrub"):
            bridge.scrub()


def test_a_host_that_does_something_else_is_named_by_the_frame(recorded):
    near, far = memory_pair()
    frame = next(each.frame for each in listen(recorded) if isinstance(each.message, m.SetTemperature))
    words = f"frame {frame}: SetTemperature differs: celsius was 25.0, is 26.0"
    with (
        PlayedNode(far, exchanges(listen(recorded))),
        Bridge(established(Channel(near, "host"))) as bridge,
        pytest.raises(Refused, match=words),
    ):
        do_things(bridge, celsius=26.0)


def test_half_a_frame_does_not_outlive_the_line_it_came_over(tmp_path):
    path = tmp_path / "x"
    recorder = Recorder(path.open("wb"), "node", 0.0)
    frame = encode_frame(bytes([0x11, 0x01, 0xC0, 0x05, 0, 0, 7]))
    recorder.passed(Direction.RECEIVED, frame + frame[:5], 0.1)
    recorder.opened(0.2)
    recorder.passed(Direction.RECEIVED, frame, 0.3)
    recorder.close()
    transcript = read_transcript(path)
    assert [each.direction for each in transcript.records].count(Direction.OPENED) == 1
    assert [(number, time_us) for number, time_us, _ in frames_of(transcript)] == [(1, 100_000), (2, 300_000)]
