"""The log's tree: the reader's checks against a naive RFC 9162, the published vectors, and every kind of forgery."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.verifier.facts.test_attestation import FACT
from zkmargin.circuits.errors import (
    MalformedInput,
    ProofRejected,
    SignatureRejected,
    StaleStatement,
    StatementMismatch,
    ZkMarginError,
)
from zkmargin.service.keys.signing import sign_attestation, sign_tree_head
from zkmargin.service.keys.signing_keys import generate_key
from zkmargin.service.ledger import merkle_tree
from zkmargin.verifier.facts.transparency import (
    MAX_HEAD_AGE,
    MAX_PATH,
    MAX_SIZE,
    TOKEN_TYPE,
    LogForked,
    TreeHead,
    attestation_leaf,
    check_extends,
    check_recent,
    leaf_hash,
    node_hash,
    verify_consistency,
    verify_inclusion,
    verify_tree_head,
)

KEY = generate_key()
LEAVES = [leaf_hash(i.to_bytes(4, "big")) for i in range(300)]


# RFC 9162 section 2.1 word by word: the other implementation that everything is compared with.


def split(n: int) -> int:
    k = 1
    while 2 * k < n:
        k *= 2
    return k


def mth(leaves: list[bytes]) -> bytes:
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = split(len(leaves))
    return hashlib.sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def path_of(m: int, leaves: list[bytes]) -> list[bytes]:
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if m < k:
        return [*path_of(m, leaves[:k]), mth(leaves[k:])]
    return [*path_of(m - k, leaves[k:]), mth(leaves[:k])]


def subproof(m: int, leaves: list[bytes], whole: bool) -> list[bytes]:
    if m == len(leaves):
        return [] if whole else [mth(leaves)]
    k = split(len(leaves))
    if m <= k:
        return [*subproof(m, leaves[:k], whole), mth(leaves[k:])]
    return [*subproof(m - k, leaves[k:], False), mth(leaves[:k])]


def build(leaves: list[bytes]) -> tuple[merkle_tree.Frontier, merkle_tree.Get]:
    nodes: dict[tuple[int, int], bytes] = {}
    frontier = merkle_tree.EMPTY
    for leaf in leaves:
        frontier, complete = merkle_tree.append(frontier, leaf)
        for level, index, value in complete:
            assert (level, index) not in nodes, "a complete node is written once"
            nodes[level, index] = value
    return frontier, lambda level, index: nodes[level, index]


_, GET = build(LEAVES)
ROOTS = [mth(LEAVES[:n]) for n in range(71)]

#: Leaves, roots, and paths of the reference tree of the Certificate Transparency project: testonly/constants.go and
#: proof/verify_test.go of transparency-dev/merkle (Apache-2.0), the same figures as cpp/merkletree/merkle_tree_test.cc
#: of google/certificate-transparency.
CT_LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
CT_ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
CT_INCLUSION = {
    (0, 8): """96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7
        5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e
        6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4""",
    (5, 8): """bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b
        ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0
        d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7""",
    (2, 3): "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    (1, 5): """6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d
        5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e
        bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b""",
    (0, 1): "",
}
CT_CONSISTENCY = {
    (1, 1): "",
    (1, 8): CT_INCLUSION[0, 8],
    (6, 8): """0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a
        ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0
        d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7""",
    (2, 5): """5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e
        bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b""",
    (6, 7): """0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a
        b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f
        d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7""",
}


def test_the_reference_tree_of_certificate_transparency() -> None:
    leaves = [leaf_hash(bytes.fromhex(leaf)) for leaf in CT_LEAVES]
    roots = [bytes.fromhex(r) for r in CT_ROOTS]
    _, get = build(leaves)
    assert [merkle_tree.root(merkle_tree.frontier_at(get, n)) for n in range(9)] == roots
    for (index, size), text in CT_INCLUSION.items():
        path = [bytes.fromhex(h) for h in text.split()]
        assert merkle_tree.inclusion_path(get, index, size) == path
        verify_inclusion(leaves[index], index, size, path, roots[size])
    for (old, new), text in CT_CONSISTENCY.items():
        path = [bytes.fromhex(h) for h in text.split()]
        assert merkle_tree.consistency_path(get, old, new) == path
        verify_consistency(old, roots[old], new, roots[new], path)


def test_every_tree_of_up_to_70_leaves_agrees_with_the_rfc() -> None:
    frontier = merkle_tree.EMPTY
    for n in range(71):
        assert frontier == merkle_tree.frontier_at(GET, n)
        assert merkle_tree.root(frontier) == ROOTS[n]
        for m in range(n):
            path = merkle_tree.inclusion_path(GET, m, n)
            assert path == path_of(m, LEAVES[:n])
            verify_inclusion(LEAVES[m], m, n, path, ROOTS[n])
        for m in range(n + 1):
            path = merkle_tree.consistency_path(GET, m, n)
            assert path == ([] if m == 0 else subproof(m, LEAVES[:n], True))
            verify_consistency(m, ROOTS[m], n, ROOTS[n], path)
        frontier, _ = merkle_tree.append(frontier, LEAVES[n])


@given(st.integers(1, 300), st.data())
@settings(max_examples=60, deadline=None)
def test_larger_trees_agree_too_in_few_reads(n: int, data: st.DataObject) -> None:
    m = data.draw(st.integers(0, n - 1))
    assert merkle_tree.inclusion_path(GET, m, n) == path_of(m, LEAVES[:n])
    assert merkle_tree.consistency_path(GET, m + 1, n) == subproof(m + 1, LEAVES[:n], True)


@given(st.integers(1, MAX_SIZE), st.data())
def test_paths_of_the_largest_trees_need_logarithmic_reads(n: int, data: st.DataObject) -> None:
    m = data.draw(st.integers(0, n - 1))
    most = 2 * n.bit_length()
    calls: list[Callable[[merkle_tree.Get], object]] = [
        lambda get: merkle_tree.inclusion_path(get, m, n),
        lambda get: merkle_tree.consistency_path(get, m, n),
        lambda get: merkle_tree.frontier_at(get, n),
    ]
    for call in calls:
        read = merkle_tree.nodes_read(call)
        assert len(read) <= most
        assert all((index + 1) << level <= n for level, index in read), "only complete nodes are read"
    # No path that the builder makes is longer than readers accept.
    assert len(merkle_tree.inclusion_path(lambda _level, _index: bytes(32), m, n)) <= MAX_PATH
    assert len(merkle_tree.consistency_path(lambda _level, _index: bytes(32), m, n)) <= MAX_PATH


def flip(value: bytes, bit: int) -> bytes:
    return (int.from_bytes(value, "big") ^ 1 << bit).to_bytes(len(value), "big")


def mutations(path: list[bytes], bit: int, place: int) -> list[list[bytes]]:
    """Paths that are not this one: a bit flipped, shortened, lengthened, two hashes exchanged."""
    out = [[*path, bytes(32)], [bytes(32), *path], [*path, *path[-1:]], path[:-1], path[1:]]
    if path:
        i = place % len(path)
        out.append([*path[:i], flip(path[i], bit), *path[i + 1 :]])
        out.append([*path[:i], *path[i + 1 :]])
        out.append([*path[: i + 1], *path[i:]])
        j = (i + 1) % len(path)
        swapped = list(path)
        swapped[i], swapped[j] = path[j], path[i]
        out.append(swapped)
    return [p for p in out if p != path]


@given(st.integers(1, 70), st.data())
@settings(deadline=None)
def test_no_other_path_index_size_leaf_or_root_shows_inclusion(n: int, data: st.DataObject) -> None:
    m = data.draw(st.integers(0, n - 1))
    bit, place = data.draw(st.integers(0, 255)), data.draw(st.integers(0, 6))
    leaf, root, path = LEAVES[m], ROOTS[n], merkle_tree.inclusion_path(GET, m, n)
    forged = [(leaf, m, n, p, root) for p in mutations(path, bit, place)]
    forged += [(leaf, other, n, path, root) for other in range(n + 2) if other != m]
    forged += [(flip(leaf, bit), m, n, path, root), (leaf, m, n, path, flip(root, bit)), (leaf, m, 0, path, root)]
    # A size may be unable to change the shape of one leaf's path, so the root of that size is what must differ.
    forged += [(leaf, m, other, path, ROOTS[other]) for other in range(71) if other != n]
    for case in forged:
        with pytest.raises(ProofRejected):
            verify_inclusion(*case)


@given(st.integers(0, 70), st.data())
@settings(deadline=None)
def test_no_other_path_size_or_root_shows_consistency(n: int, data: st.DataObject) -> None:
    m = data.draw(st.integers(0, n))
    bit, place = data.draw(st.integers(0, 255)), data.draw(st.integers(0, 6))
    path = merkle_tree.consistency_path(GET, m, n)
    forged = [(m, ROOTS[m], n, ROOTS[n], p) for p in mutations(path, bit, place)]
    forged += [(m, flip(ROOTS[m], bit), n, ROOTS[n], path)]
    if m:  # every tree extends the one without leaves
        forged += [(m, ROOTS[m], n, flip(ROOTS[n], bit), path)]
        forged += [(o, ROOTS[m], n, ROOTS[n], path) for o in range(n + 1) if o != m]
    for case in forged:
        with pytest.raises(ProofRejected):
            verify_consistency(*case)


def test_a_leaf_is_not_an_inner_node() -> None:
    """Second preimage: the hashes of two leaves, given as an entry, do not make the node above them."""
    left, right = LEAVES[:2]
    assert leaf_hash(left + right) != node_hash(left, right)
    with pytest.raises(ProofRejected):
        verify_inclusion(leaf_hash(left + right), 0, 1, [], ROOTS[2])


@pytest.mark.parametrize("bad", [-1, MAX_SIZE + 1, True, "1", 1.0, None])
def test_sizes_of_another_kind_are_malformed(bad: object) -> None:
    with pytest.raises(MalformedInput):
        verify_inclusion(LEAVES[0], bad, 2, [], ROOTS[2])  # type: ignore[arg-type]
    with pytest.raises(MalformedInput):
        verify_inclusion(LEAVES[0], 0, bad, [], ROOTS[2])  # type: ignore[arg-type]
    with pytest.raises(MalformedInput):
        verify_consistency(bad, ROOTS[1], 2, ROOTS[2], [])  # type: ignore[arg-type]
    with pytest.raises(MalformedInput):
        verify_consistency(0, ROOTS[0], bad, ROOTS[2], [])  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [b"", bytes(31), bytes(33), "0" * 32, None])
def test_hashes_of_another_length_are_malformed(bad: object) -> None:
    for case in ((bad, [LEAVES[1]], ROOTS[2]), (LEAVES[0], [bad], ROOTS[2]), (LEAVES[0], [LEAVES[1]], bad)):
        with pytest.raises(MalformedInput):
            verify_inclusion(case[0], 0, 2, case[1], case[2])  # type: ignore[arg-type]
    with pytest.raises(MalformedInput):
        verify_consistency(1, ROOTS[1], 2, ROOTS[2], [bad])  # type: ignore[list-item]


def test_a_path_that_no_tree_has_is_malformed() -> None:
    with pytest.raises(MalformedInput):
        verify_inclusion(LEAVES[0], 0, MAX_SIZE, [bytes(32)] * (MAX_PATH + 1), ROOTS[2])
    with pytest.raises(MalformedInput):
        verify_consistency(3, ROOTS[3], 2, ROOTS[2], [])


@pytest.mark.parametrize(("index", "size"), [(0, 0), (1, 1), (-1, 1), (0, MAX_SIZE + 1)])
def test_the_builder_refuses_what_the_log_does_not_have(index: int, size: int) -> None:
    with pytest.raises(MalformedInput):
        merkle_tree.inclusion_path(GET, index, size)
    for old, new in ((3, 2), (-1, 2), (0, -1), (0, MAX_SIZE + 1)):
        with pytest.raises(MalformedInput):
            merkle_tree.consistency_path(GET, old, new)
    with pytest.raises(MalformedInput):
        merkle_tree.frontier_at(GET, -1)


# Signed heads.


def head(n: int, *, time: int = 1_700_000_000, hub: str = "hub-1") -> TreeHead:
    return TreeHead(hub, n, mth(LEAVES[:n]), time)


def signed(payload: bytes, **headers: str) -> bytes:
    token = jwt.PyJWS().encode(payload, KEY, algorithm="EdDSA", headers={"typ": TOKEN_TYPE} | headers)
    return json.dumps({"schema": "zkmargin/tree-head/1", "jws": token}).encode()


def test_a_head_is_read_back_with_its_evidence() -> None:
    for n in (0, 1, 70):
        document = sign_tree_head(head(n), KEY)
        read = verify_tree_head(document, KEY.public_key(), now=head(n).time)
        assert read == head(n)
        assert read.document == document


def test_a_head_of_another_key_or_from_the_future_is_refused() -> None:
    document = sign_tree_head(head(3), KEY)
    with pytest.raises(SignatureRejected):
        verify_tree_head(document, generate_key().public_key())
    with pytest.raises(StaleStatement):
        verify_tree_head(document, KEY.public_key(), now=head(3).time - 3600)


def test_heads_of_another_form_are_malformed() -> None:
    good = json.loads(head(3).payload())
    payloads = [
        b"{}", b"\xff", b"[]", head(3).payload() + b" ", json.dumps(good).encode(),
        *(json.dumps({**good, **change}, sort_keys=True, separators=(",", ":")).encode() for change in (
            {"size": -1}, {"size": 2**53}, {"size": "3"}, {"size": 0}, {"root": "00"}, {"root": good["root"].upper()},
            {"hub": ""}, {"time": -1}, {"extra": 1}, {"schema": "zkmargin/tree-head/2"},
        )),
    ]  # fmt: skip
    documents = [signed(p) for p in payloads]
    documents += [signed(head(3).payload(), typ="zkmargin-attestation+jws"), signed(head(3).payload(), kid="k")]
    documents += [sign_tree_head(head(3), KEY).replace(b"tree-head/1", b"tree-head/2"), b"", b"{}", b"null"]
    for document in documents:
        with pytest.raises(MalformedInput):
            verify_tree_head(document, KEY.public_key())
    for wrong in (replace(head(0), root=ROOTS[1]), replace(head(3), size=-1), replace(head(3), root=b"")):
        with pytest.raises(MalformedInput):
            sign_tree_head(wrong, KEY)


def test_one_signature_has_one_token() -> None:
    """The last base64 character carries four bits that mean nothing; other ones would make another leaf."""
    document = json.loads(sign_tree_head(head(3), KEY))
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = alphabet.index(document["jws"][-1])
    assert last & 15 == 0
    for spare in range(1, 16):
        document["jws"] = document["jws"][:-1] + alphabet[last | spare]
        with pytest.raises(MalformedInput):
            verify_tree_head(json.dumps(document).encode(), KEY.public_key())


@given(st.binary(max_size=200))
def test_hostile_bytes_get_typed_errors(data: bytes) -> None:
    for call in (lambda: verify_tree_head(data, KEY.public_key()), lambda: attestation_leaf(data)):
        with pytest.raises(ZkMarginError):
            call()


def test_a_leaf_is_the_token_whatever_surrounds_it() -> None:
    document = sign_attestation(FACT, KEY)
    token = json.loads(document)["jws"]
    assert attestation_leaf(document) == hashlib.sha256(b"\x00" + token.encode()).digest()
    assert attestation_leaf(json.dumps(json.loads(document), indent=3).encode()) == attestation_leaf(document)
    with pytest.raises(MalformedInput):
        attestation_leaf(sign_tree_head(head(1), KEY))


def test_heads_that_extend_each_other_are_accepted() -> None:
    sizes = [0, 0, 1, 2, 3, 3, 8, 70]
    for a, b in pairwise(sizes):
        check_extends(head(a), head(b, time=1_700_000_001), merkle_tree.consistency_path(GET, a, b))


def test_a_hub_with_two_histories_is_caught_with_both_heads() -> None:
    other = [*LEAVES[:5], leaf_hash(b"rewritten"), *LEAVES[6:20]]
    _, get = build(other)
    held = verify_tree_head(sign_tree_head(head(8), KEY), KEY.public_key())
    shown = [TreeHead("hub-1", n, mth(other[:n]), 1_700_000_009) for n in (8, 19)]
    for fork, proven in zip(shown, (True, False), strict=True):
        read = verify_tree_head(sign_tree_head(fork, KEY), KEY.public_key())
        for path in (
            merkle_tree.consistency_path(get, 8, fork.size),
            merkle_tree.consistency_path(GET, 8, fork.size),
            [],
        ):
            with pytest.raises(LogForked) as caught:
                check_extends(held, read, path)
            error = caught.value
            assert (error.held, error.shown, error.proven) == (held, read, proven)
            assert (error.code, error.exit_code) == ("log-forked", 11)
            assert all(verify_tree_head(h.document, KEY.public_key()) == h for h in (error.held, error.shown))


def test_a_late_or_foreign_head_is_no_fork() -> None:
    with pytest.raises(StatementMismatch) as caught:
        check_extends(head(8), head(3), merkle_tree.consistency_path(GET, 3, 8))
    assert caught.value.field == "tree-head.size"
    check_extends(head(3), head(8), merkle_tree.consistency_path(GET, 3, 8))
    with pytest.raises(StatementMismatch) as caught:
        check_extends(head(3), head(8, hub="hub-2"), merkle_tree.consistency_path(GET, 3, 8))
    assert caught.value.field == "tree-head.hub"


def test_a_larger_head_of_an_earlier_time_convicts_whoever_has_the_key() -> None:
    """What a retired key signs inside its old window: the honest tree and one leaf more, dated before the head held."""
    held, path = head(8), merkle_tree.consistency_path(GET, 8, 9)
    for later in (held.time, held.time + 1):
        check_extends(held, head(9, time=later), path)
    for earlier in (held.time - 1, 0):
        backdated = head(9, time=earlier)
        verify_consistency(8, held.root, 9, backdated.root, path)  # control: as a tree it extends the one held
        with pytest.raises(LogForked) as caught:
            check_extends(held, backdated, path)
        assert (caught.value.held, caught.value.shown, caught.value.proven) == (held, backdated, True)


def test_a_size_may_be_signed_again_at_any_time_under_one_root() -> None:
    held = head(8)
    for time in (held.time - 300, held.time, held.time + 300):
        check_extends(held, head(8, time=time), [])
        with pytest.raises(LogForked) as caught:
            check_extends(held, replace(head(8, time=time), root=bytes(32)), [])
        assert caught.value.proven


def test_a_head_covers_facts_for_fifteen_minutes() -> None:
    assert MAX_HEAD_AGE == 900
    now = head(8).time
    for time in (now - MAX_HEAD_AGE, now, now + 30):
        check_recent(head(8, time=time), now)
    for time, why in ((now - MAX_HEAD_AGE - 1, "older"), (now + 31, "future")):
        with pytest.raises(StaleStatement, match=why) as caught:
            check_recent(head(8, time=time), now)
        assert caught.value.field == "tree-head.payload.time"


def test_a_path_longer_than_the_tree_is_high_shows_nothing() -> None:
    """The second leaf of two is not the only leaf of one, though the hashes go up to the same root."""
    first, second = leaf_hash(b"0"), leaf_hash(b"1")
    root_of_two = node_hash(first, second)
    verify_inclusion(second, 1, 2, [first], root_of_two)
    with pytest.raises(ProofRejected) as caught:
        verify_inclusion(second, 0, 1, [first], root_of_two)
    assert caught.value.field == "path"


def test_limits_of_sizes_and_paths() -> None:
    assert MAX_PATH == 54
    leaf = leaf_hash(b"0")
    with pytest.raises(ProofRejected):
        verify_inclusion(leaf, 0, MAX_SIZE, [leaf] * MAX_PATH, leaf)
    for size, path, field in ((MAX_SIZE + 1, [], "size"), (-1, [], "size"), (2, [leaf] * (MAX_PATH + 1), "path")):
        with pytest.raises(MalformedInput) as caught:
            verify_inclusion(leaf, 0, size, path, leaf)
        assert caught.value.field == field


def test_a_leaf_of_no_attestation_names_it() -> None:
    with pytest.raises(MalformedInput) as caught:
        attestation_leaf(b"{")
    assert caught.value.field == "attestation"
