"""The files a node is started from, and the sentence said when it does not start."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml

from casscade.core.errors import ConfigurationError
from casscade.devstack.cassandra import CassandraNode
from casscade.devstack.cassandra_files import CassandraSettings, cassandra_yaml, jvm_arguments
from casscade.devstack.places import free_port
from casscade.devstack.releases import VERSIONS, find_release


def test_the_segments_and_cdc_raw_share_the_directory_of_the_node() -> None:
    content = yaml.safe_load(cassandra_yaml(CassandraSettings(), Path("/node"), find_release("5.0")))
    assert content["commitlog_directory"] == "/node/commitlog"
    assert content["cdc_raw_directory"] == "/node/cdc_raw"
    assert content["cdc_enabled"] is True
    assert content["storage_compatibility_mode"] == "NONE"
    assert content["rpc_address"] == content["listen_address"] == "127.0.0.1"
    assert "commitlog_compression" not in content


def test_what_is_chosen_reaches_the_yaml() -> None:
    settings = CassandraSettings(
        address="127.0.0.7",
        port=19042,
        storage_port=17000,
        commitlog_sync_period_ms=250,
        compression="LZ4Compressor",
        segment_size="1MiB",
        storage_compatibility_mode="CASSANDRA_4",
        cdc=False,
        cdc_total_space="64MiB",
        extra={"concurrent_reads": 2},
    )
    content = yaml.safe_load(cassandra_yaml(settings, Path("/node"), find_release("5.0")))
    assert content["seed_provider"][0]["parameters"] == [{"seeds": "127.0.0.7:17000"}]
    assert content["native_transport_port"] == 19042
    assert content["commitlog_sync_period"] == "250ms"
    assert content["commitlog_compression"] == [{"class_name": "LZ4Compressor"}]
    assert content["commitlog_segment_size"] == "1MiB"
    assert content["storage_compatibility_mode"] == "CASSANDRA_4"
    assert (content["cdc_enabled"], content["cdc_total_space"]) == (False, "64MiB")
    assert content["concurrent_reads"] == 2


def _yaml(version: str, settings: CassandraSettings) -> dict[str, Any]:
    content = yaml.safe_load(cassandra_yaml(settings, Path("/node"), find_release(version)))
    assert isinstance(content, dict)
    return content


@pytest.mark.parametrize("version", ["3.11", "4.0"])
def test_releases_before_4_1_get_keys_that_carry_the_unit(version: str) -> None:
    content = _yaml(version, CassandraSettings(segment_size="1MiB", commitlog_sync_period_ms=250))
    assert (content["commitlog_segment_size_in_mb"], content["commitlog_sync_period_in_ms"]) == (1, 250)
    assert content["enable_materialized_views"] is True
    assert not {"commitlog_segment_size", "commitlog_sync_period", "storage_compatibility_mode"} & content.keys()
    assert not [key for key, value in content.items() if isinstance(value, str) and value.endswith(("MiB", "ms"))]


def test_4_1_has_values_that_carry_the_unit_and_no_compatibility_mode() -> None:
    content = _yaml("4.1", CassandraSettings())
    assert content["commitlog_segment_size"] == "4MiB"
    assert "storage_compatibility_mode" not in content


def test_3_11_gets_no_port_in_a_seed_and_no_thrift_server() -> None:
    content = _yaml("3.11", CassandraSettings(address="127.0.0.7", storage_port=17000))
    assert content["seed_provider"][0]["parameters"] == [{"seeds": "127.0.0.7"}]
    assert content["start_rpc"] is False
    assert "start_rpc" not in _yaml("4.0", CassandraSettings())


@pytest.mark.parametrize(
    ("version", "sync", "expected"),
    [
        ("3.11", "periodic", {"commitlog_sync_period_in_ms": 20}),
        ("3.11", "batch", {"commitlog_sync_batch_window_in_ms": 2}),
        ("4.0", "batch", {}),
        ("4.0", "group", {"commitlog_sync_group_window_in_ms": 20}),
        ("4.1", "group", {"commitlog_sync_group_window": "20ms"}),
        ("5.0", "batch", {}),
    ],
)
def test_each_way_to_sync_gets_its_own_time_alone(version: str, sync: str, expected: dict[str, object]) -> None:
    content = _yaml(version, CassandraSettings(commitlog_sync=sync, commitlog_sync_period_ms=20))
    assert content["commitlog_sync"] == sync
    assert {key: value for key, value in content.items() if key.startswith("commitlog_sync_")} == expected


def test_a_line_means_the_release_of_that_line() -> None:
    assert [find_release(version).version for version in VERSIONS] == list(VERSIONS)
    assert (find_release("4.1").version, find_release("3.11").protocol) == ("4.1.10", 4)
    with pytest.raises(ConfigurationError) as caught:
        find_release("4.2")
    assert caught.value.code == "version_unknown"
    assert "4.1.10" in caught.value.hint


def test_the_jvm_gets_its_heap_agent_and_class_path() -> None:
    jars = [Path("/c/a.jar"), Path("/c/jamm-1.jar")]
    arguments = jvm_arguments(CassandraSettings(heap="256m", jvm=("-Dmore=1",)), Path("/node"), jars, jars[1], 7199)
    assert "-Xmx256m" in arguments
    assert "-Dmore=1" in arguments
    assert "-javaagent:/c/jamm-1.jar" in arguments
    assert arguments[-2:] == ["-classpath", "/node/conf:/c/a.jar:/c/jamm-1.jar"]


def _node(directory: Path) -> CassandraNode:
    return CassandraNode(directory, CassandraSettings(port=free_port()), cache=directory)


@pytest.mark.parametrize(
    ("log", "code", "words"),
    [
        ("INFO x\nERROR 10:00 Fatal configuration error; it is bad\n", "cassandra_failed", "it is bad"),
        ("ERROR: java.io.IOException: No space left on device\n", "disk_full", "disk is full"),
        ("Caused by: java.net.BindException: Address already in use\n", "port_in_use", "another program"),
        ("Error: insufficient memory for the Java Runtime\n", "cassandra_failed", "insufficient memory"),
        ("", "cassandra_failed", "wrote no log"),
    ],
)
def test_a_node_that_ends_says_why(tmp_path: Path, log: str, code: str, words: str) -> None:
    node = _node(tmp_path)
    node.log_file.write_text(log)
    with pytest.raises(ConfigurationError) as caught:
        node.wait_ready()
    assert caught.value.code == code
    assert words in caught.value.what
    assert caught.value.hint


def test_a_port_of_another_program_does_not_count_as_ready(tmp_path: Path) -> None:
    node = _node(tmp_path)
    with socket.create_server((node.address, node.port)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        assert not node.answers()
        thread.join()
    assert not node.answers()
