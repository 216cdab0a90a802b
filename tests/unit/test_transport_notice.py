"""Notices pass the topic whole, beside mutations; older loaders set them aside, newer ones apply them."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casscade.commitlog.observations import OBSERVING
from casscade.core.errors import BadDataError
from casscade.core.notice import GAP, Notice, unpack
from casscade.core.position import START, Position
from casscade.load.batcher import Batcher
from casscade.transport.chunk import Chunk
from casscade.transport.envelope import NOTICE_VERSION, VERSION, open_envelope, seal_notice

HOST = uuid.UUID(int=9)
NOTICE = Notice(GAP, str(HOST), "frame_zero:3:4", "frame_zero", Position(3, 4), "bytes", None, b"\x00\xffraw", 7)


@given(
    st.builds(
        Notice,
        st.text(max_size=8),
        st.text(max_size=40),
        st.text(max_size=40),
        st.text(max_size=20),
        st.builds(Position, st.integers(0, (1 << 63) - 1), st.integers(0, (1 << 40) - 1)),
        st.text(max_size=40),
        st.none() | st.uuids(),
        st.binary(max_size=50),
        st.integers(0, 8),
    )
)
def test_a_notice_comes_back(notice: Notice) -> None:
    assert unpack(notice.pack()) == notice
    opened = open_envelope(seal_notice(notice, HOST.bytes, 5))
    assert opened.notice == notice
    assert opened.mutation == b""
    assert opened.position.segment == notice.position.segment


@given(st.binary(max_size=80))
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(BadDataError, match="can't be understood"):
        unpack(data)


def test_a_loader_that_knows_no_notices_sees_a_version_that_is_newer() -> None:
    assert seal_notice(NOTICE, HOST.bytes, 5)[2] == NOTICE_VERSION > VERSION


@pytest.mark.requirement("FR-022")
def test_a_batch_takes_notices_and_makes_a_dead_letter_of_damaged_bytes() -> None:
    batcher = Batcher(dict, lambda _: False, batch_rows=10, batch_s=1.0)
    other = NOTICE._replace(key="state_lost:x", content=b"")
    batcher.add(Chunk("topic/0", OBSERVING, Position(0, 7), 0.0, notices=[NOTICE, other]))
    batch = batcher.take()
    assert batch.notices == [NOTICE, other]
    assert batch.positions == {"topic/0": Position(0, 7)}
    (letter,) = batch.dead_letters
    assert (letter.event_id, letter.code) == (f"{HOST}:3:4", "frame_zero")
    assert (letter.encoding, letter.mutation) == (7, NOTICE.content)
    assert batcher.counts["frame_zero"] == 1
    assert batch.positions["topic/0"] > START
