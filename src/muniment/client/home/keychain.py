"""What proves that this is the enrolled device: its token, its private key, and the pin of the vault key.

The pin is kept here and not with the state, which is a cache: a slot that opens to another key than the
pinned one is an attack (`VaultKeyReplaced`), and forgetting the pin would hide it.
"""

from __future__ import annotations

import base64
import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from muniment.client.home.places import Home, write_private
from muniment.model.errors import MunimentError
from muniment.model.ids import VaultId

KEYRING = "keyring"
FILE = "file"
_SERVICE = "muniment"


@dataclass(frozen=True, slots=True)
class DeviceSecrets:
    """`private_key` is X25519, 32 bytes; `pin` is the vault key's fingerprint, 16 bytes."""

    token: str = field(repr=False)
    private_key: bytes = field(repr=False)
    pin: bytes

    def to_text(self) -> str:
        return json.dumps(
            {
                "token": self.token,
                "private_key": base64.b64encode(self.private_key).decode("ascii"),
                "pin": self.pin.hex(),
            }
        )

    @classmethod
    def from_text(cls, text: str) -> DeviceSecrets:
        content = json.loads(text)
        key = base64.b64decode(content["private_key"], validate=True)
        pin = bytes.fromhex(content["pin"])
        token = content["token"]
        if not isinstance(token, str) or len(key) != 32 or len(pin) != 16:
            raise ValueError("the parts have wrong lengths")
        return cls(token, key, pin)


def keep(secrets: DeviceSecrets, *, home: Home, vault: VaultId) -> str:
    """Store the device's secrets in the best place there is; returns which (`KEYRING` or `FILE`)."""
    if not home.self_contained and _keep_in_keyring(vault, secrets.to_text()):
        return KEYRING
    write_private(_file_of(home, vault), secrets.to_text().encode())
    return FILE


def recall(where: str, *, home: Home, vault: VaultId) -> DeviceSecrets:
    """The device's secrets; a systemd credential named `muniment-VAULT` stands in for the stored ones."""
    text = _from_systemd(vault)
    try:
        if text is None and where == KEYRING:
            text = _from_keyring(vault)
        elif text is None:
            text = _file_of(home, vault).read_text(encoding="utf-8")
        return DeviceSecrets.from_text(text)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MunimentError(
            f"this machine's device key for vault {vault} cannot be used ({type(error).__name__})",
            advice="Connect again as an existing device, with a code from `muniment admin enrol` and the "
            "vault's passphrase or recovery kit.",
        ) from None


def _file_of(home: Home, vault: VaultId) -> Path:
    return home.credentials / f"{vault}.json"


def _from_systemd(vault: VaultId) -> str | None:
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    if not directory:
        return None
    try:
        return (Path(directory) / f"muniment-{vault}").read_text(encoding="utf-8")
    except OSError:
        return None


def _keep_in_keyring(vault: VaultId, text: str) -> bool:
    # Loaded here: slow, and only needed where there is a key store of the system.
    import keyring
    from keyring.errors import KeyringError

    backend = type(keyring.get_keyring())
    # What keyrings.alt offers is a file by another name, and worse protected than ours.
    if backend.priority < 1 or backend.__module__.startswith(("keyrings.alt", "keyring.backends.fail")):
        return False
    try:
        keyring.set_password(_SERVICE, vault.hex, text)
        return keyring.get_password(_SERVICE, vault.hex) == text
    except (KeyringError, RuntimeError, OSError):
        return False


def _from_keyring(vault: VaultId) -> str:
    import keyring
    from keyring.errors import KeyringError

    try:
        text = keyring.get_password(_SERVICE, vault.hex)
    except (KeyringError, RuntimeError) as error:
        raise OSError(f"the key store of the system does not answer: {error}") from error
    if text is None:
        raise OSError("the key store of the system has no such entry")
    return text
