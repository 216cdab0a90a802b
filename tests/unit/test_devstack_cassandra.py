"""The files a node is started from, and the sentence said when it does not start."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest
import yaml

from casscade.core.errors import ConfigurationError
from casscade.devstack.cassandra import CassandraNode
from casscade.devstack.cassandra_files import CassandraSettings, cassandra_yaml, jvm_arguments
from casscade.devstack.places import free_port


def test_the_segments_and_cdc_raw_share_the_directory_of_the_node() -> None:
    content = yaml.safe_load(cassandra_yaml(CassandraSettings(), Path("/node")))
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
    content = yaml.safe_load(cassandra_yaml(settings, Path("/node")))
    assert content["seed_provider"][0]["parameters"] == [{"seeds": "127.0.0.7:17000"}]
    assert content["native_transport_port"] == 19042
    assert content["commitlog_sync_period"] == "250ms"
    assert content["commitlog_compression"] == [{"class_name": "LZ4Compressor"}]
    assert content["commitlog_segment_size"] == "1MiB"
    assert content["storage_compatibility_mode"] == "CASSANDRA_4"
    assert (content["cdc_enabled"], content["cdc_total_space"]) == (False, "64MiB")
    assert content["concurrent_reads"] == 2


def test_the_jvm_gets_its_heap_agent_and_class_path() -> None:
    jars = [Path("/c/a.jar"), Path("/c/jamm-1.jar")]
    arguments = jvm_arguments(CassandraSettings(heap="256m", jvm=("-Dmore=1",)), Path("/node"), jars, jars[1])
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
