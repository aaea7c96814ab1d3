"""A person of some weight: what it takes to give them a copy of everything, and to forget them.

Import only after Django is set up (`benches.privacy` does that). The rows are written in bulk and the objects
without `fsync`, because a backup of ten thousand snapshots is not what is measured; what exports and erases
them is the service itself.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from uuid import uuid4

from benches.floors import Figure
from benches.measure import ServerProbe
from muniment.server.accounts.models import Account, Device
from muniment.server.deployment import Deployment
from muniment.server.privacy.export import read_archive
from muniment.server.privacy.requests.asking import ask
from muniment.server.privacy.requests.erasing import left_of
from muniment.server.privacy.requests.machine import run_request
from muniment.server.privacy.requests.models import Kind
from muniment.server.transactions import writing
from muniment.server.vaults.models import Event, Grant, IndexPack, Pack, PackState, Run, Snapshot, Vault
from muniment.server.web.context import deploy
from tests.support.domain import Member
from tests.support.server import Served
from tests.support.visitor import Visitor, forms_in

DEVICES, SNAPSHOTS, ROWS = 10, 10_000, 100_000
_BATCH = 1000
_PACK = bytes(64 << 10)
MIB = 1 << 20


def furnish(member: Member, *, snapshots: int) -> None:
    """As if the account's devices had backed up for years: packs, heads, sets, rows of each."""
    vault = Vault.objects.get(owner=member.account)
    devices = list(Device.objects.filter(account=member.account).order_by("pk"))
    now, objects = member.deployment.now(), member.deployment.config.objects
    for start in range(0, snapshots, _BATCH):
        numbers = range(start, min(start + _BATCH, snapshots))
        packs = [_pack(vault, devices[number % len(devices)], objects, now=now) for number in numbers]
        with writing():
            Pack.objects.bulk_create(packs)
            IndexPack.objects.bulk_create(
                IndexPack(vault=vault, pack=pack, covers=secrets.token_bytes(160)) for pack in packs
            )
            Snapshot.objects.bulk_create(
                _snapshot(vault, devices[number % len(devices)], number, objects, now=now)
                for number in numbers
            )
        tell(vault, devices, numbers, now=now)


def tell(vault: Vault, devices: list[Device], numbers: range, *, now: datetime) -> None:
    """A run and an event for each number."""
    with writing():
        Run.objects.bulk_create(
            Run(
                vault=vault, device=devices[number % len(devices)], session_ref=uuid4(), set_ref=uuid4(),
                outcome="complete", coverage={"files": number, "unreadable": 0}, bytes_bound=1 << 20,
                seconds=1.5, client_version="bench", received_at=now,
            )
            for number in numbers
        )  # fmt: skip
        Event.objects.bulk_create(
            Event(
                vault=vault, number=1_000_000 + number, at=now, kind="snapshot_committed",
                device=devices[number % len(devices)], detail={"snapshot": secrets.token_hex(32)},
            )
            for number in numbers
        )  # fmt: skip


def _pack(vault: Vault, device: Device, objects: Path, *, now: datetime) -> Pack:
    ref = uuid4()
    return Pack(
        vault=vault, ref=ref, kind=1, epoch=0, size=len(_PACK), sha256=hashlib.sha256(_PACK).digest(),
        state=PackState.LIVE, object_key=_stored(objects, vault, "packs", _PACK), sender=device,
        received_at=now, pending=False,
    )  # fmt: skip


def _snapshot(vault: Vault, device: Device, number: int, objects: Path, *, now: datetime) -> Snapshot:
    head = secrets.token_bytes(1024)
    return Snapshot(
        vault=vault, name=hashlib.sha256(head).hexdigest(), device=device, installation=uuid4(),
        set_ref=uuid4(), counter=number + 1, partial=False, slot_list_number=0, received_at=now,
        head_key=_stored(objects, vault, "heads", head), packs_key=_stored(objects, vault, "sets", head),
        packs_sha256=bytes(32), packs_count=1, packs_depth=0, metered=4096,
    )  # fmt: skip


def _stored(objects: Path, vault: Vault, kind: str, content: bytes) -> str:
    key = f"{vault.ref.hex}/{kind}/{secrets.token_hex(32)}"
    path = objects / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return key


def figures(deployment: Deployment, *, snapshots: int = SNAPSHOTS, rows: int = ROWS) -> Iterator[Figure]:
    deploy(deployment)
    yield exported(deployment, rows=rows)
    yield erased(deployment, snapshots=snapshots)


def exported(deployment: Deployment, *, rows: int) -> Figure:
    """What the server's memory grows by at most while a browser takes the archive."""
    served = Served(deployment.config.data).start()
    try:
        visitor, email = Visitor(served), f"{secrets.token_hex(6)}@example.org"
        assert visitor.sign_up(email).status_code == 302
        _fill(Account.objects.get(email=email), rows=rows, now=deployment.now())
        page = visitor.sign_in_afresh("/requests/copy").text
        form = next(form for form in forms_in(page) if form.action == "/requests/export")
        probe, archive = ServerProbe(served.pid), deployment.config.data / "archive.zip"
        probe.forget_peak()
        before = probe.peak()
        with visitor.client.stream("POST", "/requests/export", data=form.fields) as answer:
            assert answer.status_code == 200
            with archive.open("wb") as file:
                for piece in answer.iter_raw():
                    file.write(piece)
        growth = (probe.peak() - before) / MIB
        with archive.open("rb") as file:
            held = sum(map(len, read_archive(file).values()))
        assert held >= rows, held
        archive.unlink()
    finally:
        served.close()
    return Figure(f"memory to export {rows:,} rows", growth, growth, 50.0, "MiB")


def _fill(account: Account, *, rows: int, now: datetime) -> None:
    with writing():
        device = Device.objects.create(
            ref=uuid4(), account=account, name="a machine", token_sha256=secrets.token_bytes(32),
            public_key=secrets.token_bytes(32), enrolled_at=now,
        )  # fmt: skip
        vault = Vault.objects.create(ref=uuid4(), owner=account, created_at=now, allowance=1 << 40)
        Grant.objects.create(vault=vault, device=device, granted_at=now)
    for start in range(0, rows // 2, _BATCH):
        tell(vault, [device], range(start, min(start + _BATCH, rows // 2)), now=now)


def erased(deployment: Deployment, *, snapshots: int) -> Figure:
    """Seconds from where the erasure is due to where nothing is left and the receipt is signed."""
    member = Member.first(deployment)
    for _ in range(DEVICES - 1):
        member.beside()
    furnish(member, snapshots=snapshots)
    person = member.account.pk
    ref = ask(deployment, member.account, Kind.ERASE)
    start = time.perf_counter()
    run_request(deployment, ref)
    seconds = time.perf_counter() - start
    assert left_of(person) == []
    assert not list(deployment.config.objects.glob(f"{member.vault}/**/*"))
    return Figure(f"erasing {DEVICES} devices and {snapshots:,} snapshots", seconds, seconds, 60.0, "s")
