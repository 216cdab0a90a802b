"""What rules hide is in no file that the process writes: the journal of an outage, positions, what else is there."""

from __future__ import annotations

import random
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from casscade.capture.position_file import PositionFile
from casscade.config.load_section import DeadLettersSection
from casscade.core.notice import GAP, Notice
from casscade.core.position import Position
from casscade.load.contents import Batch
from casscade.pipeline.catalog import Catalog
from casscade.pipeline.hiding import hidden_chunks
from casscade.pipeline.outage import open_journal
from casscade.transport.chunk import Chunk, RepairProgress, SnapshotProgress
from casscade.transport.journal import Journal
from tests.support.hidden_values import MARKER, Site, people
from tests.support.ruled import target_of

pytestmark = [pytest.mark.requirement("FR-013"), pytest.mark.requirement("FR-030")]

SHOWN = "Yq8Shown"


def journal_of(site: Site, directory: Path) -> Journal:
    """The journal of a pipeline with the tables of `site`."""
    shapes = {table.id.bytes: table.shape(replicated=True) for table in site.known}
    catalog = SimpleNamespace(
        rules={site.ruled.id.bytes: site.rules}, tables=lambda: shapes, written=[target_of(site.ruled, site.rules)]
    )
    return open_journal(directory, DeadLettersSection(disk_free_bytes=0), cast(Catalog, catalog))


def random_chunks(site: Site, rng: random.Random) -> list[Chunk]:
    """Mutations of both tables, some of them damaged or such that a rule fails, of streams and of reads."""
    chunks = []
    for number in range(12):
        mutations = []
        for _ in range(rng.randint(0, 5)):
            values: dict[str, Any] = {name: MARKER for name in ("email", "phone", "token") if rng.random() < 0.7}
            if rng.random() < 0.6:
                values["doc"] = rng.choice([f'{{"n": "{MARKER}"}}', MARKER, f'{{"m": "{MARKER}"}}'])
            mutation = site.mutation(site.ruled, rng.randint(1, 10), note=SHOWN, age=rng.randint(0, 9), **values)
            if rng.random() < 0.2:
                mutation = mutation[: rng.randint(30, len(mutation) - 1)]
            elif rng.random() < 0.3:
                mutation = site.mutation(site.plain, rng.randint(1, 10), note=f"{SHOWN} {number}", age=3)
            mutations.append(mutation)
        offsets = [100 * number + place for place in range(len(mutations))]
        notices = [Notice(GAP, "node", f"key{number}", "section_corrupt", content=MARKER.encode())]
        progress = rng.choice([None, SnapshotProgress(7, 9, 3, False)])
        size = sum(map(len, mutations))
        end = Position(3, 100 * number + 50)
        chunk = Chunk("node", 7, end, 1.0, mutations, offsets, size, progress)
        chunk.notices = notices if rng.random() < 0.3 else []
        chunks.append(chunk)
    return chunks


def result(batch: Batch) -> Mapping[str, Any]:
    """All that a batch would write."""
    return {
        "rows": {
            table_id: {key: (row.liveness_ts, row.cells) for key, row in table.rows.items()}
            for table_id, table in batch.fold.tables.items()
        },
        "letters": sorted((letter.event_id, letter.code, letter.mutation) for letter in batch.dead_letters),
        "positions": batch.positions,
        "notices": [notice.key for notice in batch.notices],
    }


def test_no_hidden_value_is_in_any_file_and_what_is_read_back_merges_to_the_same(tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    site = Site()
    chunks = random_chunks(site, rng)
    # Whatever is drawn: something that is hidden, something shown, something broken.
    whole = site.mutation(site.ruled, email=MARKER, note=SHOWN)
    chunks.append(
        Chunk("node", 7, Position(3, 5000), 1.0, [whole, whole[:-4], whole], [4900, 4901, 4902], 3 * len(whole))
    )
    with closing(journal_of(site, tmp_path / "outage")) as journal:
        assert journal.append(chunks)
    PositionFile(tmp_path, "node").save(chunks[-1].end)
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 1
    everything = b"".join(written)
    assert SHOWN.encode() in everything, "the search looks at the mutations"
    for form in (MARKER.encode(), MARKER.lower().encode(), MARKER.encode().hex().encode()):
        assert form not in everything
    behind, direct = site.batcher(), site.batcher()
    with closing(journal_of(site, tmp_path / "outage")) as again:  # of a later life
        for _, chunk in again.read():
            behind.add(chunk)
    for chunk in chunks:
        direct.add(chunk)
    found, wanted = result(behind.take()), result(direct.take())
    assert found["rows"] == wanted["rows"]
    assert (found["positions"], found["notices"]) == (wanted["positions"], wanted["notices"])
    # Of a row on which a rule failed the letter holds less: that it failed is told.
    assert {(event, code) for event, code, _ in found["letters"] if "row:" not in event} >= {
        (event, code) for event, code, _ in wanted["letters"] if "row:" not in event
    }
    assert len(found["letters"]) >= len({code for _, code, _ in wanted["letters"]})
    for _, _, mutation in found["letters"]:
        assert MARKER.encode() not in mutation


def test_what_mentions_no_table_that_hides_anything_stays_as_it_is() -> None:
    site = Site()
    plain, gone = site.mutation(site.plain, email=SHOWN), site.mutation(people("gone"), email=SHOWN)
    chunk = Chunk("node", 7, Position(3, 9), 1.0, [plain, gone, plain[:-2]], [1, 2, 3])
    assert hidden_chunks(site.hider, [chunk]) == [chunk]
    mixed = Chunk("node", 7, Position(3, 9), 1.0, [plain, site.mutation(site.ruled, email=MARKER), gone], [1, 2, 3])
    (hidden,) = hidden_chunks(site.hider, [mixed])
    assert (hidden.mutations[0], hidden.mutations[2]) == (plain, gone)
    assert hidden.offsets == [1, 2, 3]
    # Hidden once more it is the same: what was read back may be written again.
    assert hidden_chunks(site.hider, [hidden]) == [hidden]


def test_notes_count_no_rows_of_a_repair_and_move_with_their_neighbours() -> None:
    site = Site()
    progress = RepairProgress((1,), 2, True)
    mutations = [site.mutation(site.ruled, doc=MARKER), site.mutation(site.ruled, email=MARKER)]
    shown, notes = hidden_chunks(
        site.hider, [Chunk("snapshot", 7, Position(0, 0), 1.0, mutations, [0, 1], 9, progress)]
    )
    assert (shown.progress, len(shown.mutations), len(notes.mutations)) == (progress, 1, 1)
    assert notes.progress == RepairProgress((1,), 0, True)
    assert not notes.moves
