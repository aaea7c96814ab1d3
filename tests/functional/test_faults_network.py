"""A network that breaks every kind of request in every way; nothing is lost, nothing is there twice.

Every case is drawn by its seed, and fails the same way again when it is run alone.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.support.flaky_proxy import Fault, FaultKind, FlakyProxy
from tests.support.world import World, make_world

CASES = 48
PACK, COMMIT = r"PUT \S+/packs/", r"POST \S+/commit"
REQUESTS = (
    PACK,
    PACK,
    PACK,
    COMMIT,
    COMMIT,
    r"POST \S+/sessions$",
    r"GET \S+/keys",
    r"POST \S+/runs",
    r"DELETE \S+/sessions",
)
READING = (r"GET \S+/packs/", r"GET \S+/keys", r"GET \S+/snapshots")

CUT_SHORT = frozenset({FaultKind.TOO_SHORT})
"""Faults that no client can tell from a server that answers nonsense: the run may fail, and is repeated."""


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, FlakyProxy]]:
    world = make_world(tmp_path_factory.mktemp("network") / "world")
    try:
        with FlakyProxy(world.served.port) as proxy:
            yield world, proxy
    finally:
        world.close()


def draw(seed: int) -> list[Fault]:
    """Two faults on a backup; the kinds take turns, so that all are met."""
    chance = random.Random(seed)
    kinds = list(FaultKind)
    return [
        Fault(
            kind,
            on=(on := chance.choice(REQUESTS)),
            nth=chance.randint(1, 3) if on == PACK else 1,
            at=chance.choice((0.0, 0.1, 0.5, 0.9, 0.999)),
        )
        for kind in (kinds[seed % len(kinds)], chance.choice(kinds))
    ]


def assert_backup_survives(world: World, proxy: FlakyProxy, faults: list[Fault]) -> None:
    world.forget_records()
    world.change_source()
    before = world.snapshots()
    proxy.order(*faults)
    ran = world.machine.run("backup", "--server", proxy.url)
    proxy.settle()
    assert proxy.fired, "no fault was met"
    assert sent_again(proxy) == []
    if ran.code != 0:
        assert {fault.kind for fault in proxy.fired} & CUT_SHORT, f"{proxy.fired}: {ran.said}"
        assert ran.result["message"]
        ran = world.back_up()
    else:
        assert world.snapshots() == before + 1
    assert ran.code == 0, ran.said
    world.assert_sound(ran.result["snapshot"])


def sent_again(proxy: FlakyProxy) -> list[str]:
    """Packs that the machine sent although the answer that they are stored had reached it."""
    acknowledged: set[str] = set()
    again = []
    for exchange in proxy.exchanges:
        if exchange.pack in acknowledged:
            again.append(exchange.pack)
        elif exchange.pack and exchange.status == 200 and exchange.arrived:
            acknowledged.add(exchange.pack)
    return again


@pytest.mark.parametrize("seed", range(CASES))
def test_backup_through_a_flaky_network(lasting: tuple[World, FlakyProxy], seed: int) -> None:
    assert_backup_survives(*lasting, draw(seed))


@pytest.mark.parametrize(
    "kind", [kind for kind in FaultKind if kind not in CUT_SHORT], ids=lambda kind: kind.name
)
def test_commit_whose_answer_is_disturbed(lasting: tuple[World, FlakyProxy], kind: FaultKind) -> None:
    """The request that must neither be lost nor done twice."""
    assert_backup_survives(*lasting, [Fault(kind, on=COMMIT)])


@pytest.mark.parametrize("kind", list(FaultKind), ids=lambda kind: kind.name)
def test_restore_through_a_flaky_network(
    lasting: tuple[World, FlakyProxy], kind: FaultKind, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Never a wrong byte; with one fault at a time, not even a missing one."""
    world, proxy = lasting
    chance = random.Random(kind.name)
    proxy.order(*(Fault(kind, on=on, at=chance.random()) for on in READING))
    target = tmp_path_factory.mktemp("restored")
    ran = world.machine.run("restore", "latest", "--target", target, "--server", proxy.url)
    assert proxy.fired
    if ran.code != 0:
        assert kind in CUT_SHORT, ran.said
        proxy.order()
        restore = ("restore", "latest", "--target", target, "--overwrite", "always", "--server", proxy.url)
        ran = world.machine.run(*restore)
    assert ran.code == 0, ran.said
    assert world.differences_from(target) == []


def always(kind: FaultKind, *, on: str) -> list[Fault]:
    """More faults than any patience lives through."""
    return [Fault(kind, on=on, at=place / 100) for place in range(100)]


def test_goodbye_is_not_waited_for(
    lasting: tuple[World, FlakyProxy], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A restore ends when its patience does, not after as long again; a whole one ends when it is done."""
    world, proxy = lasting
    world.change_source()
    world.back_up()
    target = tmp_path_factory.mktemp("restored")
    restore = ("restore", "latest", "--target", target, "--server", proxy.url)
    proxy.order(*always(FaultKind.RESET_REQUEST, on=r"GET \S+/packs/|DELETE"))
    ran = world.machine.run(*restore, more={"MUNIMENT_PATIENCE": "0.3"})
    assert (ran.code, ran.error) == (1, "ServerUnreachable"), ran.said
    assert [one for one in proxy.exchanges if one.method == "DELETE"] == []
    proxy.order(*always(FaultKind.REFUSED, on="DELETE"))
    world.machine.run(*restore).expect(0)
    assert len([one for one in proxy.exchanges if one.method == "DELETE"]) == 1
