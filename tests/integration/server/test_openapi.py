"""Schemathesis against the served description: what it promises holds, for requests nobody thought of.

A wall of refusals would look like success, so real ids are put in where the description cannot know them, and
the share of successes is asserted.
"""

from __future__ import annotations

import base64
import json
import random
from collections import Counter
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from muniment.server.dataplane.openapi import describe_api
from muniment.wire import messages as m
from muniment.wire.routes import PACK_HASH_HEADER, ROUTES, Auth
from tests.support.raw_device import RawDevice, RawPack, send
from tests.support.server import Served

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
EACH = 25

SCHEMA = schemathesis.openapi.from_dict(describe_api())
OPERATIONS = {
    operation.definition.raw["operationId"]: operation
    for operation in (found.ok() for found in SCHEMA.get_all_operations())
}
ALWAYS_REFUSED = {"enrol", "kit_session", "put_slot_list", "register_kit", "commit", "put_pack"}
"""Whose success needs a secret, a hash or an order of things that no schema can tell."""


class Vault:
    """A device's vault with something in it, and a fresh session whenever one is needed."""

    def __init__(self, server: Served) -> None:
        self.device = RawDevice.enrol(server.url, server.create_account("fuzz@example.org"))
        self.pack = RawPack()
        self.snapshot = self.device.back_up(self.pack).snapshot

    def ground(self, case: Any, choose: random.Random) -> None:
        """Put real ids where the description only knows their form: mostly, not always."""
        device = self.device
        real = {
            "vault": device.vault,
            "session": device.session,
            "pack": self.pack.pack,
            "snapshot": self.snapshot,
        }
        for name, value in real.items():
            if name in (case.path_parameters or {}) and choose.random() < 0.9:
                case.path_parameters[name] = value
            if name in (case.query or {}) and choose.random() < 0.9:
                case.query[name] = value
            if isinstance(case.body, dict) and case.body.get(name) and choose.random() < 0.9:
                case.body[name] = value
        if isinstance(case.body, dict) and "wrapped" in case.body and choose.random() < 0.9:
            case.path_parameters["slot"] = case.body["slot"]
        if isinstance(case.body, dict) and "bytes_bound" in case.body and choose.random() < 0.9:
            case.body["bytes_bound"] = 1 << choose.randrange(20, 45)
        if isinstance(case.body, dict) and case.body.get("action") == "revoke_device":
            case.body["removal"] = None
            case.body["subject"] = device.device
        _encode_bytes(case.body, choose)
        case.headers = {
            name: value for name, value in (case.headers or {}).items() if name.lower() != "range"
        }
        case.headers["Authorization"] = f"Bearer {device.token}"


_BYTES = {
    "secret": 16,
    "public_key": 32,
    "credential": 32,
    "credential_hash": 32,
    "packs_hash": 32,
    "digest": 32,
}
_ANY_BYTES = {"wrapped", "head", "mac", "body", "record", "expected_hash", "sha256"}


def _encode_bytes(part: Any, choose: random.Random) -> None:
    """Schemathesis does not know `contentEncoding`: give byte fields base64 of the right length."""
    if isinstance(part, list):
        for item in part:
            _encode_bytes(item, choose)
    if not isinstance(part, dict):
        return
    for name, value in part.items():
        if isinstance(value, str) and (name in _BYTES or name in _ANY_BYTES) and choose.random() < 0.9:
            size = _BYTES.get(name, choose.randrange(64, 200))
            part[name] = base64.b64encode(choose.randbytes(size)).decode()
        else:
            _encode_bytes(value, choose)


@pytest.fixture(scope="module")
def vault(shared_server: Served) -> Vault:
    return Vault(shared_server)


def test_the_description_holds(shared_server: Served, vault: Vault) -> None:
    """Every operation, in one test: the share of successes is counted over all of them."""
    tally: Counter[tuple[str, int]] = Counter()
    for name in OPERATIONS:
        _call_often(name, shared_server, vault, tally)
        statuses = {status for (route, status) in tally if route == name}
        if name not in ALWAYS_REFUSED:
            assert any(200 <= status < 300 for status in statuses), f"{name} only answered {sorted(statuses)}"
    total = sum(tally.values())
    succeeded = sum(count for (_, status), count in tally.items() if 200 <= status < 300)
    assert total >= EACH * len(OPERATIONS) * 0.5
    assert succeeded / total >= 0.4, sorted(tally.items())


def _call_often(name: str, server: Served, vault: Vault, tally: Counter[tuple[str, int]]) -> None:
    choose = random.Random(name)

    @seed(20261122)
    @settings(
        max_examples=EACH, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=OPERATIONS[name].as_strategy())
    def check(case: Any) -> None:
        if name in ("heartbeat", "close_session", "known_packs", "report_run"):
            vault.device.open_session()
        vault.ground(case, choose)
        response = case.call(base_url=server.url)
        case.validate_response(response, checks=CHECKS)
        assert b"traceback" not in response.content.lower()
        tally[name, response.status_code] += 1

    check()


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b"{}" * 1000, b"[" * 100_000, b'{"a":' * 50_000],
    ids=["empty", "open", "list", "null", "text", "no utf-8", "many", "deep list", "deep map"],
)  # fmt: skip
def test_malformed_bodies_on_every_route(shared_server: Served, vault: Vault, body: bytes) -> None:
    for route in ROUTES:
        if route.request in (None, bytes):
            continue
        path = route.path.replace("{vault}", vault.device.vault).replace("{slot}", "ab" * 16)
        token = None if route.auth is Auth.NONE else vault.device.token
        status, content, _ = send(shared_server.url, route.method, path, token=token, body=body)
        assert (status, json.loads(content)["error"]) == (400, "malformed"), route.name


def test_packs_of_random_kinds_and_sizes(shared_server: Served, vault: Vault) -> None:
    choose = random.Random(7)
    vault.device.open_session()
    for _ in range(60):
        size = choose.choice([0, 1, 65536, 65537, 131072, 100_000])
        pack = RawPack(
            content=choose.randbytes(size), kind=choose.randrange(0, 300), epoch=choose.randrange(3)
        )
        headers = {} if choose.random() < 0.8 else {PACK_HASH_HEADER: "zz"}
        status, content, _ = vault.device.try_put(pack, **headers)
        permitted = size in (65536, 131072) and pack.kind in (1, 2, 3, 4) and not headers
        assert (status == 200) == permitted, (status, content)
        assert status in (200, 400, 422)
    assert vault.device.at_vault("GET", "/devices", m.DeviceList).devices
