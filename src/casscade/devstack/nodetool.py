"""Cassandra's own `nodetool`, run from the jars of the node's release.

Invariant: it talks to the JMX port that the node got at its last start, on the loopback interface.
"""

from __future__ import annotations

import subprocess
from typing import Final

from casscade.core.errors import RetryableError
from casscade.devstack.cassandra import CassandraNode
from casscade.devstack.cassandra_files import module_arguments

# A repair of some thousand rows takes seconds; starting the virtual machine takes one or two.
TIMEOUT_S: Final = 120.0


def nodetool(node: CassandraNode, *arguments: str, timeout_s: float = TIMEOUT_S) -> str:
    """What `nodetool ARGUMENTS` prints for a running node: `nodetool(node, "flush", "shop")`.

    Raises RetryableError (`nodetool_failed`) with the end of its output when it fails or takes longer.
    """
    java, jars = node.runtime()
    command = [str(java), "-Xmx96m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", *module_arguments()]
    command += [f"-Dlogback.configurationFile={node.directory / 'conf' / 'logback.xml'}"]
    command += [f"-Duser.home={node.directory / 'scratch'}", "-classpath", ":".join(str(jar) for jar in jars)]
    command += ["org.apache.cassandra.tools.NodeTool", "-h", "127.0.0.1", "-p", str(node.jmx_port), *arguments]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _failed(node, arguments, f"it took longer than {timeout_s:.0f} s") from None
    if done.returncode:
        lines = [line for line in done.stdout.splitlines() if line.strip()] or [f"status {done.returncode}"]
        raise _failed(node, arguments, " ".join(lines[-3:])[-300:])
    return done.stdout


def _failed(node: CassandraNode, arguments: tuple[str, ...], reason: str) -> RetryableError:
    return RetryableError(
        "nodetool_failed",
        f"nodetool {' '.join(arguments)} failed: {reason}",
        where=node.address,
        now="nothing else was tried",
        hint=f"read the end of {node.log_file}",
    )
