"""Trading a one-time code for a device, such that nothing is lost when it is cut short.

The code works once. So the device's key pair is on disk before the code is sent, and the token as soon as it
comes: repeating `connect` with the same code goes on from there, after a lost answer, a crash, or a wrong
passphrase.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

from muniment.client.home.places import Home, write_private
from muniment.client.transport.server import Server
from muniment.crypto.slots import device_public_key, new_device_key
from muniment.model.codes import EnrolmentCode
from muniment.model.errors import NotGranted, UsageError
from muniment.model.ids import DeviceId, VaultId
from muniment.wire import messages as wire


@dataclass(frozen=True, slots=True)
class Enrolment:
    """One-time code, the machine's name, and where the server is."""

    code: EnrolmentCode
    device_name: str
    url: str
    ca_file: str = ""
    insecure: bool = False


@dataclass(frozen=True, slots=True)
class EnrolledDevice:
    """A device that the server knows, without a slot yet. `new_vault`: the id to make a vault under."""

    device: DeviceId
    token: str = field(repr=False)
    private_key: bytes = field(repr=False)
    new_vault: VaultId
    offered: tuple[VaultId, ...]
    file: Path

    @property
    def public_key(self) -> bytes:
        return device_public_key(self.private_key)

    def choose(self, wanted: VaultId | None) -> VaultId:
        """The existing vault to open."""
        if wanted is not None:
            if wanted not in self.offered:
                raise NotGranted(f"the code gives no access to vault {wanted}")
            return wanted
        if not self.offered:
            raise UsageError(
                "the account has no vault yet",
                advice="Use --new to make one, if this is the account's first machine.",
            )
        if len(self.offered) > 1:
            names = ", ".join(str(vault) for vault in self.offered)
            raise UsageError("the account has several vaults", advice=f"Name one with --vault: {names}")
        return self.offered[0]

    def settle(self) -> None:
        """The device's secrets are kept elsewhere now."""
        self.file.unlink(missing_ok=True)


def enrol(server: Server, enrolment: Enrolment, *, home: Home) -> EnrolledDevice:
    """Enrol, or go on with what an earlier try with this code has got."""
    name = hashlib.sha256(b"muniment enrolment" + enrolment.code.secret).hexdigest()[:16]
    file = home.credentials / f"enrolling-{name}.json"
    begun = _read(file)
    if begun is None:
        private, _ = new_device_key()
        begun = {"private_key": base64.b64encode(private).decode("ascii"), "new_vault": VaultId.random().hex}
        write_private(file, json.dumps(begun).encode())
    private = base64.b64decode(begun["private_key"])
    if "token" not in begun:
        answer = server.enrol(
            wire.EnrolRequest(
                secret=enrolment.code.secret,
                device_name=enrolment.device_name,
                public_key=device_public_key(private),
            )
        )
        begun |= {"token": answer.token, "device": answer.device}
        begun["offered"] = " ".join(info.vault for info in answer.vaults)
        write_private(file, json.dumps(begun).encode())
    return EnrolledDevice(
        device=DeviceId.parse(begun["device"]),
        token=begun["token"],
        private_key=private,
        new_vault=VaultId.parse(begun["new_vault"]),
        offered=tuple(VaultId.parse(text) for text in begun["offered"].split()),
        file=file,
    )


def _read(file: Path) -> dict[str, str] | None:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    usable = isinstance(content, dict) and {"private_key", "new_vault"} <= content.keys()
    return {str(key): str(value) for key, value in content.items()} if usable else None
