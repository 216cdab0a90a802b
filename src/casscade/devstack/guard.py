"""A small parent that ends a server when the process it was started for ends.

Invariant: the server never outlives its owner by more than a second, however the owner ends: the guard polls the
owner, and the kernel signals the server if the guard itself is killed (`PR_SET_PDEATHSIG`, set in a process that has
one thread only). The file is run by its path and imports nothing but the standard library.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

PR_SET_PDEATHSIG: Final = 1
POLL_S: Final = 0.25
# After the stop signal; both servers obey theirs (SIGKILL, SIGQUIT) at once unless the disk hangs.
GRACE_S: Final = 5.0


def birth_of(pid: int) -> str | None:
    """Boot id and start time (clock ticks since boot) of a live process; None if there is none or it is a zombie.

    Two processes that had the same pid at different times differ in it (proc(5), /proc/pid/stat field 22).
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    # A killed process with many threads shows its first one as a zombie while the others still hold its ports.
    if fields[0] in ("Z", "X") and int(fields[17]) <= 1:
        return None
    return f"{boot}:{fields[19]}"


def main(arguments: list[str]) -> int:
    """Run `arguments[5:]`; the first five are owner pid, stop signal, uid, gid (-1: unchanged) and log file.

    Writes the pid of the server as one line to the standard output before anything else.
    """
    owner, stop_signal, uid, gid = (int(argument) for argument in arguments[:4])
    owner_birth = birth_of(owner)
    libc = ctypes.CDLL(None, use_errno=True)

    def die_with_guard() -> None:
        libc.prctl(PR_SET_PDEATHSIG, stop_signal, 0, 0, 0)

    with Path(arguments[4]).open("ab") as log:
        child = subprocess.Popen(
            arguments[5:],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd="/",
            user=None if uid < 0 else uid,
            group=None if gid < 0 else gid,
            extra_groups=None if uid < 0 else [],
            preexec_fn=die_with_guard,  # noqa: PLW1509 - this process has one thread
        )
    print(child.pid, flush=True)
    os.close(sys.stdout.fileno())
    while child.poll() is None:
        if owner_birth is None or birth_of(owner) != owner_birth:
            child.send_signal(stop_signal)
            try:
                child.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            break
        time.sleep(POLL_S)
    return 0


if __name__ == "__main__":
    # The server is stopped through its own pid or by the end of the owner; a stray terminal signal is not for us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    code = main(sys.argv[1:])
    os._exit(code)
