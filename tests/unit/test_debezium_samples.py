"""Every sample of the connector against the statement that caused it: what it determines, and what is read again."""

from __future__ import annotations

import pytest

from tests.support.debezium import KINDS, ORDERS, Sample, decoder, samples, say

# What each statement did, as far as its events tell. `!n`: it ends n seconds after it was written.
EXPECTED: dict[str, list[str]] = {
    "00-insert_orders": ["1111/1 insert at=1767323045678 price=12.50 qty=10 sku=sku-1", "read again: tags"],
    "00-static_only_update": [],
    "01-after_static": ["1111/50 insert qty=1"],
    "01-insert_partial": ["1111/2 insert qty=20"],
    "02-insert_pk_only": ["1111/3 insert"],
    "02-unfrozen_udt": [],
    "03-insert_explicit_null": ["1111/4 insert qty=1 sku=null"],
    "03-unfrozen_udt_field": [],
    "04-after_udt": ["1111/51 insert qty=1"],
    "04-insert_using_old_timestamp": ["1111/1 insert qty=99"],
    "05-counter": [],
    "05-update_one_col": ["1111/1 qty=11"],
    "06-after_counter": ["1111/52 insert qty=1"],
    "06-update_two_cols": ["1111/1 price=13.75 qty=12"],
    "07-truncate": [],
    "07-update_set_null": ["1111/1 sku=null"],
    "08-alter_add_column": [],
    "08-delete_column": ["1111/1 price=null"],
    "09-after_alter": ["1111/53 insert note=added column"],
    "09-set_add": ["read again: tags"],
    "10-drop_column": [],
    "10-set_remove": ["read again: tags"],
    "11-after_drop": ["1111/54 insert sku=after drop"],
    "11-set_overwrite": ["read again: tags"],
    "12-set_empty": ["read again: tags"],
    "13-delete_row": ["1111/2 delete"],
    "14-delete_range": ["1111: delete [3 .. 10)"],
    "15-delete_range_open": ["1111: delete (100 .. ]"],
    "16-delete_partition": ["1111: delete partition"],
    "17-insert_ttl": ["1111/5 insert!3600 qty=1!3600 sku=ttl!3600"],
    "18-update_ttl_one_col": ["1111/5 qty=2!60"],
    "19-insert_ttl_collection": ["1111/6 insert", "read again: tags"],
    "20-lwt_insert": ["1111/7 insert sku=lwt"],
    "21-lwt_update": ["1111/7 sku=lwt2"],
    "22-batch_same_partition": ["1111/5 delete", "1111/8 insert qty=1", "1111/9 qty=2"],
    "23-batch_two_partitions": ["2222/1 insert qty=1", "1111/10 insert qty=1"],
    "24-insert_kinds": [
        "p1/1,a insert b=True bl=b'\\xca\\xfe' d=20455 dbl=3.25 dec=1234.5600 fl=[9, 8] "
        "fudt={'street': 'High St', 'zip': 12345} ip=10.0.0.1 n=7 si=-5 ti=3 tm=29350123456789 ts=1767323045678 "
        "tu=50554d6e-29bb-11e5-b345-feff819cdc9f tup=(1, 'one') txt=text é u=123e4567-e89b-12d3-a456-426614174000 "
        "vi=12345678901234567890",
        "read again: l m st",
    ],
    "25-list_append": ["read again: l"],
    "26-list_prepend": ["read again: l"],
    "27-list_set_index": ["read again: l"],
    "28-list_delete_index": ["read again: l"],
    "29-map_put": ["read again: m"],
    "30-map_delete_key": ["read again: m"],
    "31-map_overwrite": ["read again: m"],
    "32-frozen_udt_update": ["p1/1,a fudt={'street': 'New', 'zip': 1}"],
    "33-delete_range_prefix": ["p1: delete [1 .. 1]"],
    "34-delete_slice_2ck": ["p1: delete (2,b .. 2,d]"],
}


def said(sample: Sample) -> list[str]:
    table = KINDS if "shop.kinds" in sample.cql else ORDERS
    lines: list[str] = []
    for message, write_time in zip(sample.messages, sample.write_times, strict=True):
        lines += say(decoder().decode(message), write_time, table)
    return lines


@pytest.mark.parametrize("sample", samples(), ids=lambda sample: sample.name)
def test_an_event_says_what_its_statement_did(sample: Sample) -> None:
    assert sorted(said(sample)) == sorted(EXPECTED[sample.name])


@pytest.mark.parametrize("sample", samples("with-schemas"), ids=lambda sample: sample.name)
def test_the_schema_of_the_converter_changes_nothing(sample: Sample) -> None:
    assert sorted(said(sample)) == sorted(EXPECTED[sample.name])


def test_no_sample_is_left_out() -> None:
    assert {sample.name for sample in samples()} == EXPECTED.keys()
    assert len(samples("with-schemas")) == 35
