"""The errors of this package.

Invariant: no message holds a value or a key, only positions, lengths and the rule that the bytes break.
"""

from __future__ import annotations

from typing import Final

from casscade.core.errors import ConfigurationError, CorruptionError, DroppedColumnError

MUTATION_CORRUPT: Final = "mutation_corrupt"
SECTION_CORRUPT: Final = "section_corrupt"
SEGMENT_CORRUPT: Final = "segment_corrupt"
SEGMENT_VERSION: Final = "segment_version"
SEGMENT_ENCRYPTED: Final = "segment_encrypted"
SEGMENT_COMPRESSION: Final = "segment_compression"


def corrupt_mutation(rule: str) -> CorruptionError:
    """The error for a mutation whose bytes break `rule`."""
    return CorruptionError(
        MUTATION_CORRUPT,
        f"the mutation cannot be decoded: {rule}",
        now="the mutation goes to the dead letters, the others go on",
        hint="repair the table in Cassandra, which writes the row once more, then discard the dead letter",
    )


def corrupt_section(rule: str) -> CorruptionError:
    """The error for a section of a segment whose bytes break `rule`."""
    return CorruptionError(
        SECTION_CORRUPT,
        f"the section cannot be read: {rule}",
        now="the rest of the segment is set aside, other segments go on",
        hint="check the node's disk, then take a snapshot of the tables",
    )


def corrupt_header(where: str, rule: str) -> CorruptionError:
    """The error for a segment whose header breaks `rule`."""
    return CorruptionError(
        SEGMENT_CORRUPT,
        f"the segment's header cannot be read: {rule}",
        where=where,
        now="the segment is set aside, other segments go on",
        hint="check the node's disk, then take a snapshot of the tables",
    )


def unknown_version(where: str, version: int) -> ConfigurationError:
    """The error for a segment of a format that Casscade does not read."""
    return ConfigurationError(
        SEGMENT_VERSION,
        f"the segment has format {version}; Casscade reads 6, 7 and 8 (Cassandra 3.11 to 5.0)",
        where=where,
        now="nothing of the directory is read",
        hint="check the release of the Cassandra node, and for a newer Casscade",
    )


def encrypted(where: str) -> ConfigurationError:
    """The error for a segment that is encrypted at rest."""
    return ConfigurationError(
        SEGMENT_ENCRYPTED,
        "the segment is encrypted, and Casscade has no access to the node's keys",
        where=where,
        now="nothing of the directory is read",
        hint="set transparent_data_encryption_options.enabled to false on the nodes that Casscade reads",
    )


def unknown_compression(where: str, name: str) -> ConfigurationError:
    """The error for a compressor that is not one of Cassandra's own."""
    return ConfigurationError(
        SEGMENT_COMPRESSION,
        f"the segment is compressed with {name[:100]!r}, which Casscade does not know",
        where=where,
        now="nothing of the directory is read",
        hint="set commitlog_compression to LZ4Compressor, SnappyCompressor, DeflateCompressor or ZstdCompressor",
    )


def dropped_column(table_id: bytes, column: bytes) -> DroppedColumnError:
    """A cell of a dropped column is newer than the drop."""
    return DroppedColumnError(table_id=table_id, column=column)
