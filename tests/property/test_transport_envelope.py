"""The envelope gives back what was sealed, and refuses everything else by name."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casscade.core.errors import BadDataError
from casscade.core.position import Position
from casscade.transport.envelope import HEAD_BYTES, NOTICE_VERSION, Envelope, open_envelope, seal, sealer

positions = st.builds(Position, st.integers(0, (1 << 63) - 1), st.integers(0, (1 << 32) - 1))
times = st.integers(-(1 << 63), (1 << 63) - 1)
hosts = st.binary(min_size=16, max_size=16)
traces = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=255)


@given(st.sampled_from([6, 7, 8]), hosts, positions, times, st.binary(max_size=300), traces)
@pytest.mark.requirement("FR-003")
def test_what_was_sealed_comes_back(
    encoding: int, host: bytes, position: Position, captured_at: int, mutation: bytes, trace: str
) -> None:
    sealed = seal(encoding, host, position, captured_at, mutation, trace)
    assert open_envelope(sealed) == Envelope(encoding, host, position, captured_at, trace, mutation)


@given(st.sampled_from([6, 7, 8]), hosts, positions, times, st.binary(max_size=300))
def test_the_parts_of_a_chunk_make_the_same_envelope(
    encoding: int, host: bytes, position: Position, captured_at: int, mutation: bytes
) -> None:
    first, second = sealer(encoding, host, position.segment, captured_at)
    joined = first + position.offset.to_bytes(4, "big") + second + mutation
    assert joined == seal(encoding, host, position, captured_at, mutation)


@given(st.binary(max_size=100))
def test_any_other_bytes_are_refused(value: bytes) -> None:
    if value[:2] == b"\xca\x5c":
        value = b"\x00" + value
    with pytest.raises(BadDataError) as refused:
        open_envelope(value)
    assert refused.value.code == "envelope_foreign"


def test_a_newer_version_is_named() -> None:
    sealed = bytearray(seal(7, bytes(16), Position(1, 2), 3, b"m"))
    sealed[2] = NOTICE_VERSION + 1
    with pytest.raises(BadDataError, match=f"version {NOTICE_VERSION + 1} of the envelope") as refused:
        open_envelope(bytes(sealed))
    assert refused.value.code == "envelope_newer"


@pytest.mark.parametrize("trace", ["", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"])
def test_a_cut_envelope_is_damaged(trace: str) -> None:
    sealed = seal(7, bytes(16), Position(1, 2), 3, b"", trace)
    for length in range(3, HEAD_BYTES + (1 + len(trace) if trace else 0)):
        with pytest.raises(BadDataError) as refused:
            open_envelope(sealed[:length])
        assert refused.value.code == "envelope_damaged"


def test_the_event_id_names_host_segment_and_offset() -> None:
    host = uuid.UUID("0f2b3f4e-9d60-4b6e-a1f3-3a8a2a6f9c01")
    opened = open_envelope(seal(7, host.bytes, Position(17, 99), 0, b"m"))
    assert opened.event_id == f"{host}:17:99"
