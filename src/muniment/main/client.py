"""What the client is made of on this machine: the one place that chooses its adapters."""

from __future__ import annotations

from muniment.client.cli.invocation import Invocation, make_invocation
from muniment.client.cli.options import GlobalOptions
from muniment.client.disk.posix import PosixDisk
from muniment.client.telling.output import Output
from muniment.main import allocator


def compose(options: GlobalOptions) -> Invocation:
    """An invocation over the real disk, clock and network."""
    return make_invocation(
        output=Output.of_process(as_json=options.as_json),
        open_disk=PosixDisk,
        keep_buffers=lambda: allocator.keep_buffers(allocator.CLIENT),
        vault=options.vault,
        kit=options.kit,
        server=options.server,
        ca_file=options.ca_file,
        insecure=options.insecure,
        limit_up=options.limit_up,
        limit_down=options.limit_down,
    )
