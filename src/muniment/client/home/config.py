"""`config.toml`: the vaults this machine is connected to, and the backup sets of each.

Written for people too: comments and order survive our own changes.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from muniment.client.home.places import Home, write_private
from muniment.model.errors import UsageError
from muniment.model.ids import DeviceId, VaultId

DEFAULT_SET = "default"


@dataclass(frozen=True, slots=True)
class BackupSet:
    """Named roots with their rules. Paths are absolute bytes; `excludes` are gitignore rules."""

    name: str
    roots: tuple[bytes, ...]
    excludes: tuple[str, ...] = ()
    exclude_files: tuple[str, ...] = ()
    one_file_system: bool = False
    network_roots: tuple[bytes, ...] = ()
    """Roots on network file systems, whose ctime and inode mean nothing."""
    default_excludes: bool = True


@dataclass(frozen=True, slots=True)
class Connection:
    """One vault as this machine knows it. Secrets are elsewhere (`keychain`)."""

    vault: VaultId
    server: str
    device: DeviceId
    device_name: str
    server_key_hash: bytes
    pinned: bool
    insecure: bool = False
    ca_file: str = ""
    credentials: str = "file"
    """Where the device's secrets lie: "keyring" or "file"."""
    sets: Mapping[str, BackupSet] = field(default_factory=dict)
    schedule: Mapping[str, str] = field(default_factory=dict)
    """Set name → how often it is backed up."""


@dataclass(frozen=True, slots=True)
class Config:
    home: Home
    default_vault: VaultId | None
    connections: Mapping[VaultId, Connection]

    @classmethod
    def load(cls, home: Home) -> Config:
        """UsageError, with line and reason, where the file does not say what it must."""
        try:
            text = home.config_file.read_text(encoding="utf-8")
        except FileNotFoundError:
            return cls(home, None, {})
        except (OSError, UnicodeDecodeError) as error:
            why = (error.strerror if isinstance(error, OSError) else None) or str(error)
            raise UsageError(f"{home.config_file} cannot be read: {why}") from None
        try:
            document = tomllib.loads(text)
            connections = [_read_connection(key, table) for key, table in document.get("vaults", {}).items()]
            default = document.get("default_vault")
            return cls(
                home,
                VaultId.parse(default) if default else None,
                {connection.vault: connection for connection in connections},
            )
        except (tomllib.TOMLDecodeError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(
                f"{home.config_file} is not understood: {error}", advice="Correct the file, or connect again."
            ) from None

    def connection(self, wanted: str | None) -> Connection:
        """The vault that `wanted` begins the id of, else the default one; UsageError where unclear."""
        if not self.connections:
            raise UsageError(
                "this machine is not connected to a vault",
                advice="Run `muniment connect URL --code CODE`, with a code from whoever runs the server."
                " To read with a recovery kit alone: --kit KIT.",
            )
        if wanted:
            fitting = [c for c in self.connections.values() if c.vault.hex.startswith(wanted.lower())]
            if len(fitting) != 1:
                known = ", ".join(sorted(str(vault) for vault in self.connections))
                which = "no vault" if not fitting else "more than one vault"
                raise UsageError(
                    f"{which} here has an id that begins with {wanted}", advice=f"Known: {known}"
                )
            return fitting[0]
        if self.default_vault is not None and self.default_vault in self.connections:
            return self.connections[self.default_vault]
        if len(self.connections) == 1:
            return next(iter(self.connections.values()))
        raise UsageError("this machine knows several vaults", advice="Name one with --vault.")

    def with_connection(self, connection: Connection) -> Config:
        """The same with `connection` added or replaced; a first one becomes the default."""
        return replace(
            self,
            connections={**self.connections, connection.vault: connection},
            default_vault=self.default_vault or connection.vault,
        )

    def save(self) -> None:
        """Within `locks.changing_config`, like the load before it: else a change beside it is lost."""
        # Loaded here: most commands only read.
        import tomlkit

        try:
            document = tomlkit.parse(self.home.config_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            document = tomlkit.document()
            document.add(tomlkit.comment("Muniment on this machine. `muniment sets` edits it; so may you."))
        if self.default_vault is not None:
            document["default_vault"] = self.default_vault.hex
        vaults = document.setdefault("vaults", tomlkit.table(is_super_table=True))
        for vault in [key for key in vaults if key not in {known.hex for known in self.connections}]:
            del vaults[vault]
        for connection in self.connections.values():
            _write_connection(vaults, connection, tomlkit.table)
        write_private(self.home.config_file, tomlkit.dumps(document).encode())


def change_set(connection: Connection, backup_set: BackupSet) -> Connection:
    return replace(connection, sets={**connection.sets, backup_set.name: backup_set})


# --- tables


def _read_connection(key: str, table: Mapping[str, Any]) -> Connection:
    return Connection(
        vault=VaultId.parse(key),
        server=_text(table, "server"),
        device=DeviceId.parse(_text(table, "device")),
        device_name=_text(table, "device_name"),
        server_key_hash=bytes.fromhex(_text(table, "server_key_hash")),
        pinned=bool(table.get("pinned", False)),
        insecure=bool(table.get("insecure", False)),
        ca_file=str(table.get("ca_file", "")),
        credentials=str(table.get("credentials", "file")),
        sets={name: _read_set(name, entry) for name, entry in table.get("sets", {}).items()},
        schedule={name: str(every) for name, every in table.get("schedule", {}).items()},
    )


def _read_set(name: str, table: Mapping[str, Any]) -> BackupSet:
    return BackupSet(
        name=name,
        roots=tuple(read_path(item) for item in table.get("roots", [])),
        excludes=tuple(str(item) for item in table.get("exclude", [])),
        exclude_files=tuple(str(item) for item in table.get("exclude_from", [])),
        one_file_system=bool(table.get("one_file_system", False)),
        network_roots=tuple(read_path(item) for item in table.get("network_roots", [])),
        default_excludes=bool(table.get("default_excludes", True)),
    )


def _text(table: Mapping[str, Any], key: str) -> str:
    value = table[key]
    if not isinstance(value, str):
        raise TypeError(f"{key} must be text")
    return value


def _write_connection(vaults: Any, connection: Connection, make_table: Callable[[], Any]) -> None:
    key = connection.vault.hex
    if key not in vaults:
        vaults[key] = make_table()
    table = vaults[key]
    table["server"] = connection.server
    table["device"] = connection.device.hex
    table["device_name"] = connection.device_name
    table["server_key_hash"] = connection.server_key_hash.hex()
    table["pinned"] = connection.pinned
    table["credentials"] = connection.credentials
    _set_or_drop(table, "insecure", connection.insecure)
    _set_or_drop(table, "ca_file", connection.ca_file)
    _set_or_drop(table, "schedule", dict(connection.schedule))
    if "sets" not in table:
        if not connection.sets:
            return
        table["sets"] = make_table()
    sets = table["sets"]
    for name in [name for name in sets if name not in connection.sets]:
        del sets[name]
    for name, backup_set in connection.sets.items():
        if name not in sets:
            sets[name] = make_table()
        entry = sets[name]
        entry["roots"] = [write_path(root) for root in backup_set.roots]
        _set_or_drop(entry, "exclude", list(backup_set.excludes))
        _set_or_drop(entry, "exclude_from", list(backup_set.exclude_files))
        _set_or_drop(entry, "one_file_system", backup_set.one_file_system)
        _set_or_drop(entry, "network_roots", [write_path(root) for root in backup_set.network_roots])
        if not backup_set.default_excludes:
            entry["default_excludes"] = False
        elif "default_excludes" in entry:
            del entry["default_excludes"]


def _set_or_drop(table: Any, key: str, value: object) -> None:
    if value:
        table[key] = value
    elif key in table:
        del table[key]


def read_path(text: object) -> bytes:
    """A path from TOML; names that are no UTF-8 are written as `hex:` and digits."""
    if not isinstance(text, str):
        raise TypeError("a path must be text")
    path = bytes.fromhex(text[4:]) if text.startswith("hex:") else text.encode()
    if not os.path.isabs(path):
        raise ValueError(f"the path {text!r} is not absolute")
    return path


def write_path(path: bytes) -> str:
    try:
        return path.decode()
    except UnicodeDecodeError:
        return "hex:" + path.hex()
