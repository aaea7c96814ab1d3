"""Which use case answers which route: one domain call each, nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar
from uuid import UUID

from muniment import __version__
from muniment.server.dataplane.calls import Call
from muniment.server.vaults.access import authenticate_device
from muniment.server.vaults.commit import commit_snapshot
from muniment.server.vaults.confirmations import ask_confirmation, list_confirmations
from muniment.server.vaults.enrolment import create_vault, enrol_device
from muniment.server.vaults.kits import open_kit_session, register_kit
from muniment.server.vaults.reading import list_devices, list_events, list_snapshot_packs, list_snapshots
from muniment.server.vaults.receive import known_packs
from muniment.server.vaults.runs import report_run
from muniment.server.vaults.sessions import close_session, heartbeat, open_session
from muniment.server.vaults.slots import put_slot, put_slot_list, read_keys
from muniment.wire import messages as m

M = TypeVar("M", bound=m.Message)
UseCase = Callable[[Call], m.Message | None]

_PAGE = 100


def _body(call: Call, kind: type[M]) -> M:
    if not isinstance(call.body, kind):
        raise TypeError(f"the route takes {kind.__name__}")
    return call.body


def describe_server(identity: bytes) -> UseCase:
    def describe(call: Call) -> m.ServerInfo:
        return m.ServerInfo(
            version=__version__,
            protocols=[m.PROTOCOL],
            identity=identity,
            time=call.deployment.now().timestamp(),
        )

    return describe


def _enrol(call: Call) -> m.Enrolled:
    return enrol_device(call.deployment, _body(call, m.EnrolRequest))


def _create_vault(call: Call) -> m.VaultInfo:
    return create_vault(call.deployment, authenticate_device(call.token), _body(call, m.CreateVault))


def _keys(call: Call) -> m.VaultKeys:
    return read_keys(call.deployment, call.at_vault)


def _put_slot(call: Call) -> m.Stored:
    return put_slot(call.deployment, call.at_vault, call.ref("slot"), _body(call, m.WrappedSlot))


def _put_slot_list(call: Call) -> m.Stored:
    return put_slot_list(call.deployment, call.at_vault, _body(call, m.PutSlotList))


def _register_kit(call: Call) -> m.Stored:
    return register_kit(call.deployment, call.at_vault, _body(call, m.RegisterKit))


def _kit_session(call: Call) -> m.KitToken:
    return open_kit_session(call.deployment, _body(call, m.KitLogin))


def _open_session(call: Call) -> m.SessionOpened:
    return open_session(call.deployment, call.at_vault, _body(call, m.OpenSession))


def _heartbeat(call: Call) -> m.SessionAlive:
    return heartbeat(call.deployment, call.at_vault, call.ref("session"))


def _close_session(call: Call) -> None:
    close_session(call.deployment, call.at_vault, call.ref("session"))


def _known_packs(call: Call) -> m.KnownPacks:
    return known_packs(call.deployment, call.at_vault, _body(call, m.KnownPacksRequest))


def _commit(call: Call) -> m.Committed:
    return commit_snapshot(call.deployment, call.at_vault, _body(call, m.Commit))


def _report_run(call: Call) -> m.Stored:
    return report_run(call.deployment, call.at_vault, _body(call, m.RunReport))


def _snapshots(call: Call) -> m.SnapshotPage:
    after = call.query.get("after")
    return list_snapshots(
        call.deployment,
        call.at_vault,
        after=None if after is None else str(after),
        limit=max(1, call.number("limit", default=_PAGE)),
    )


def _snapshot_packs(call: Call) -> m.SnapshotPacks:
    after = call.query.get("after")
    return list_snapshot_packs(
        call.deployment,
        call.at_vault,
        snapshot=call.path["snapshot"],
        after=None if after is None else UUID(hex=str(after)),
    )


def _devices(call: Call) -> m.DeviceList:
    return list_devices(call.at_vault)


def _ask_confirmation(call: Call) -> None:
    raise ask_confirmation(call.deployment, call.at_vault, _body(call, m.AskConfirmation))


def _confirmations(call: Call) -> m.ConfirmationList:
    return list_confirmations(call.deployment, call.at_vault)


def _events(call: Call) -> m.EventPage:
    return list_events(
        call.at_vault,
        after=call.number("after", default=0),
        limit=max(1, call.number("limit", default=_PAGE)),
    )


USE_CASES: dict[str, UseCase] = {
    "enrol": _enrol,
    "create_vault": _create_vault,
    "keys": _keys,
    "put_slot": _put_slot,
    "put_slot_list": _put_slot_list,
    "register_kit": _register_kit,
    "kit_session": _kit_session,
    "open_session": _open_session,
    "heartbeat": _heartbeat,
    "close_session": _close_session,
    "known_packs": _known_packs,
    "commit": _commit,
    "report_run": _report_run,
    "snapshots": _snapshots,
    "snapshot_packs": _snapshot_packs,
    "devices": _devices,
    "ask_confirmation": _ask_confirmation,
    "confirmations": _confirmations,
    "events": _events,
}
"""By route name. `server`, `openapi`, `put_pack` and `get_pack` are made where the application is."""
