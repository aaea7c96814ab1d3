"""The command line on a disk whose files do something while they are read, or with another clock.

    python -m tests.support.racing '{"disk": {"name": "vanish"}}' -- -m muniment.main.cli backup DIR

`disk` says what happens to files of a name, once, after they were listed, before they are opened: `vanish`,
`directory`, `fifo`, `link`, `rewrite`; or always, while they are read: `grow`; or `refuse` (as a file of
somebody else; even root is refused). `clock` is what this machine's clock is wrong by, in seconds.
`future` is the version of the format that this program writes and knows.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from importlib import import_module
from typing import Any


def race(plan: dict[str, str]) -> None:
    posix = import_module("muniment.client.disk.posix")
    open_file, read_into = posix.PosixDirectory.open_file, posix.PosixFile.read_into
    pending = {name.encode(): action for name, action in plan.items()}

    def racing_open(self: Any, name: bytes) -> Any:
        action = pending.get(name)
        if action == "refuse":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        if action is not None and action != "grow":
            del pending[name]
            act(action, os.path.join(os.readlink(f"/proc/self/fd/{self._fd}".encode()), name))
        return open_file(self, name)

    def racing_read(self: Any, buffer: memoryview, *, offset: int) -> int:
        path = os.readlink(f"/proc/self/fd/{self._fd}".encode())
        if pending.get(os.path.basename(path)) == "grow":
            with open(path, "ab") as file:
                file.write(os.urandom(1000))
        return read_into(self, buffer, offset=offset)

    posix.PosixDirectory.open_file, posix.PosixFile.read_into = racing_open, racing_read


def act(action: str, path: bytes) -> None:
    """What somebody else does to the file at this moment."""
    if action == "rewrite":
        with open(path, "wb") as file:
            file.write(b"quite another content, and another length\n")
        return
    os.unlink(path)
    if action == "directory":
        os.mkdir(path)
    elif action == "fifo":
        os.mkfifo(path)
    elif action == "link":
        os.symlink(b"/etc/hostname", path)
    elif action != "vanish":
        raise ValueError(action)


def main() -> None:
    plan, separator, dash_m, _module, *arguments = sys.argv[1:]
    assert (separator, dash_m) == ("--", "-m")
    orders = json.loads(plan)
    if "future" in orders:
        import_module("muniment.crypto.sealing").FORMAT_VERSION = orders["future"]
    race(orders.get("disk", {}))
    if "clock" in orders:
        clock = import_module("muniment.client.cli.invocation").SystemClock
        now_ns = clock.now_ns
        clock.now_ns = lambda self: now_ns(self) + int(orders["clock"] * 1e9)
    import_module("muniment.main.cli").run(arguments)


if __name__ == "__main__":
    main()
