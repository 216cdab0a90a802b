"""Every bound of Casscade in one place, each with the sketch behind its number.

Invariant: nothing that grows with the input (queue, batch, retry, history, cache) is without a bound; a default that
a user may change names its configuration key.
"""

from __future__ import annotations

from typing import Final

MIB: Final = 1 << 20

# A section is one sync of the commit log and never longer than its segment, whose size is an i32.
SECTION_BYTES_MAX: Final = 512 * MIB
# One chunk is decoded at once: 512 mutations of some hundred bytes stay in the processor's cache.
CHUNK_MUTATIONS_MAX: Final = 512
# ... and a chunk of large mutations ends by bytes instead (load.queue_bytes must hold several).
CHUNK_BYTES_MAX: Final = 1 * MIB
# Between capture and load: two seconds of 50,000 events/s at 160 bytes; keeps the process under 200 MB.
QUEUE_BYTES_DEFAULT: Final = 16 * MIB
# A batch whose mutations hold this much ends whatever its rows: large blobs must not add up to batch_rows of them.
BATCH_BYTES_MAX: Final = 16 * MIB
# Unknown table ids remembered, so that a dropped table does not cause a schema read for each of its mutations.
UNKNOWN_TABLES_MAX: Final = 1024
# Conflicts remembered by digests of 16 bytes, so that copies of a write don't count again: 2 MB, and at 0.1 % of
# 10,000 writes a second the copies of a quarter of an hour.
CONFLICTS_REMEMBERED_MAX: Final = 10_000
# A mutation may be half a segment (16 MiB with segments of 32 MiB); an envelope and Kafka's record come on top.
KAFKA_MESSAGE_BYTES_MAX: Final = 17 * MIB
# Messages that a producer holds until they are acknowledged: the agent stays below 60 MB beside a database.
KAFKA_PRODUCER_BYTES: Final = 18 * MIB
# ... and by their number: librdkafka keeps some 250 bytes beside each, and a tenth of a second at full speed is enough.
KAFKA_PRODUCER_MESSAGES: Final = 20_000
# Messages fetched ahead by a loader, over all of its partitions.
KAFKA_CONSUMER_BYTES: Final = 16 * MIB
# A batch waits so long for a lock: writers of one table take turns of some tenths of a second, so that fifty of them
# have theirs in time; whoever holds a lock for longer is no writer. `load.lock_timeout_ms`.
LOCK_TIMEOUT_MS_DEFAULT: Final = 20_000
# One file of the journal; it is deleted when all of it is applied, so this is what a drained journal still occupies.
JOURNAL_FILE_BYTES: Final = 16 * MIB
# An hour and a half of 2,000 mutations/s at 100 bytes; `dead_letters.journal_bytes`.
JOURNAL_BYTES_DEFAULT: Final = 1024 * MIB
# Left to everybody else on the disk of the state directory; `dead_letters.disk_free_bytes`.
JOURNAL_FREE_BYTES_DEFAULT: Final = 1024 * MIB
