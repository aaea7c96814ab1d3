"""The tree of RFC 9162 against a naive reading of the RFC, and against vectors that others publish."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.server.privacy.ledger.merkle import (
    EMPTY_ROOT,
    Frontier,
    Subtree,
    consistency_spans,
    continues,
    includes,
    inclusion_spans,
    leaf_hash,
    prove,
)

# The leaves and roots of Certificate Transparency's reference tests (RFC 6962's tree is RFC 9162's).
LEAVES = [bytes.fromhex(text) for text in (
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
)]  # fmt: skip
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


class Grown:
    """A tree grown leaf by leaf, keeping what a store would keep."""

    def __init__(self, datas: list[bytes]) -> None:
        self.nodes: dict[Subtree, bytes] = {}
        self.frontiers = [Frontier()]
        for position, data in enumerate(datas):
            self.nodes[0, position] = leaf_hash(data)
            frontier, made = self.frontiers[-1].append(leaf_hash(data))
            self.nodes.update(made)
            self.frontiers.append(frontier)

    def fetch(self, wanted: set[Subtree]) -> dict[Subtree, bytes]:
        return {subtree: self.nodes[subtree] for subtree in wanted}

    def root(self, size: int) -> bytes:
        return self.frontiers[size].root

    def inclusion(self, index: int, size: int) -> list[bytes]:
        return prove(inclusion_spans(index, size), self.fetch)

    def consistency(self, old: int, new: int) -> list[bytes]:
        return prove(consistency_spans(old, new), self.fetch)


def naive_root(datas: list[bytes]) -> bytes:
    if not datas:
        return hashlib.sha256(b"").digest()
    if len(datas) == 1:
        return hashlib.sha256(b"\x00" + datas[0]).digest()
    middle = 1
    while middle * 2 < len(datas):
        middle *= 2
    return hashlib.sha256(b"\x01" + naive_root(datas[:middle]) + naive_root(datas[middle:])).digest()


def naive_path(index: int, datas: list[bytes]) -> list[bytes]:
    if len(datas) == 1:
        return []
    middle = 1
    while middle * 2 < len(datas):
        middle *= 2
    if index < middle:
        return [*naive_path(index, datas[:middle]), naive_root(datas[middle:])]
    return [*naive_path(index - middle, datas[middle:]), naive_root(datas[:middle])]


def test_the_published_roots() -> None:
    grown = Grown(LEAVES)
    assert [grown.root(size).hex() for size in range(1, 9)] == ROOTS
    assert grown.root(0) == EMPTY_ROOT


def test_the_published_inclusion_proofs() -> None:
    grown = Grown(LEAVES)
    assert [step.hex() for step in grown.inclusion(0, 8)] == [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ]
    assert [step.hex() for step in grown.inclusion(5, 8)] == [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]


def test_the_published_consistency_proof() -> None:
    assert [step.hex() for step in Grown(LEAVES).consistency(6, 8)] == [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]


@pytest.mark.parametrize("size", range(1, 34))
def test_every_proof_of_small_trees_is_the_naive_one_and_holds(size: int) -> None:
    datas = [bytes([number]) for number in range(size)]
    grown = Grown(datas)
    root = naive_root(datas)
    assert grown.root(size) == root
    for index in range(size):
        proof = grown.inclusion(index, size)
        assert proof == naive_path(index, datas)
        assert includes(root, size=size, index=index, leaf=leaf_hash(datas[index]), proof=proof)
    for old in range(1, size + 1):
        proof = grown.consistency(old, size)
        assert continues(root, new=size, old_root=naive_root(datas[:old]), old=old, proof=proof)


@given(st.data())
def test_no_proof_holds_for_anything_else(data: st.DataObject) -> None:
    datas = data.draw(st.lists(st.binary(max_size=4), min_size=2, max_size=70))
    grown, size = Grown(datas), len(datas)
    index = data.draw(st.integers(0, size - 1))
    proof, root = grown.inclusion(index, size), grown.root(size)
    leaf = leaf_hash(datas[index])
    wrong = leaf_hash(datas[index] + b"x")
    assert not includes(root, size=size, index=index, leaf=wrong, proof=proof)
    assert not includes(root, size=size, index=index, leaf=leaf, proof=[*proof, leaf])
    assert not includes(root, size=size, index=index, leaf=leaf, proof=proof[:-1])
    assert not includes(grown.root(size - 1), size=size, index=index, leaf=leaf, proof=proof)
    assert not includes(root, size=size, index=size, leaf=leaf, proof=proof)
    other = data.draw(st.integers(0, size - 1).filter(lambda at: datas[at] != datas[index]) | st.none())
    if other is not None:
        assert not includes(root, size=size, index=other, leaf=leaf, proof=proof)


@given(st.data())
def test_no_other_past_is_consistent(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 70))
    old = data.draw(st.integers(1, size - 1))
    datas = [bytes([number]) for number in range(size)]
    grown = Grown(datas)
    proof = grown.consistency(old, size)
    changed = data.draw(st.integers(0, old - 1))
    rewritten = naive_root([b"other" if at == changed else item for at, item in enumerate(datas[:old])])
    root, past = grown.root(size), grown.root(old)
    assert continues(root, new=size, old_root=past, old=old, proof=proof)
    assert not continues(root, new=size, old_root=rewritten, old=old, proof=proof)
    assert not continues(root, new=size, old_root=past, old=old, proof=[*proof, root])
    at = data.draw(st.integers(0, len(proof) - 1))
    bent = [bytes(32) if number == at else step for number, step in enumerate(proof)]
    assert not continues(root, new=size, old_root=past, old=old, proof=bent)


def test_a_tree_does_not_continue_nothing() -> None:
    assert not continues(Grown([b"a"]).root(1), new=1, old_root=EMPTY_ROOT, old=0, proof=[])
    with pytest.raises(ValueError):
        consistency_spans(0, 1)
    with pytest.raises(ValueError):
        inclusion_spans(1, 1)


def test_a_frontier_fits_its_size() -> None:
    with pytest.raises(ValueError):
        Frontier(2, (b"a", b"b"))
