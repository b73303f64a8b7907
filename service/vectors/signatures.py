"""Operations on signed documents, and what they answer. Signatures are ``cryptography``'s in every engine of ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zkmargin.circuits.documents.snapshot import snapshot_from_bytes
from zkmargin.circuits.documents.statement import statement_from_bytes
from zkmargin.service.vectors.engine import Input, Operation
from zkmargin.verifier.facts.attestation import Attestation, check_attested, load_public_key, verify_attestation
from zkmargin.verifier.facts.authorisation import check_authorises, verify_authorisation
from zkmargin.verifier.facts.credit_entry import check_credit, check_follows, verify_credit_entry
from zkmargin.verifier.facts.hub_keys import KeyChain
from zkmargin.verifier.facts.snapshot_signature import verify_snapshot_signature
from zkmargin.verifier.facts.transparency import (
    TreeHead,
    attestation_leaf,
    check_extends,
    verify_consistency,
    verify_inclusion,
    verify_tree_head,
)

Values = Mapping[str, Any]


def attestation_of(given: Input) -> Attestation:
    """The verified attestation of an input, under the input's key."""
    return verify_attestation(given.data("attestation"), load_public_key(given.data("key")))


def op_public_key(given: Input) -> Values:
    """An Ed25519 public key from PEM."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = load_public_key(given.data("key"))
    return {"bytes": key.public_bytes(Encoding.Raw, PublicFormat.Raw).hex()}


def op_attestation(given: Input) -> Values:
    """A hub's signed fact."""
    fact = attestation_of(given)
    return {
        "hub": fact.hub, "account": fact.account, "epoch": fact.epoch, "commitment": fact.commitment.hex(),
        "domain": fact.domain, "registry": fact.registry.hex(), "time": fact.time,
    }  # fmt: skip


def op_attested(given: Input) -> Values:
    """Whether a statement speaks of exactly what the hub attested."""
    stated, snap = statement_from_bytes(given.data("statement")), snapshot_from_bytes(given.data("snapshot"))
    check_attested(stated, snap, attestation_of(given), now=given.optional_number("now"))
    return {}


def op_authorisation(given: Input) -> Values:
    """Whether a key authorises exactly this statement; with ``now``, not from the future."""
    consent = verify_authorisation(given.data("authorisation"), load_public_key(given.data("key")))
    check_authorises(consent, statement_from_bytes(given.data("statement")), now=given.optional_number("now"))
    return {
        "hub": consent.hub, "account": consent.account, "statement": consent.statement.hex(), "time": consent.time,
    }  # fmt: skip


def op_signed_snapshot(given: Input) -> Values:
    """An oracle's signature of a snapshot; with ``now``, whether it is in force."""
    snap, key = snapshot_from_bytes(given.data("snapshot")), load_public_key(given.data("key"))
    signed = verify_snapshot_signature(given.data("signed"), snap, key, now=given.optional_number("now"))
    return {"oracle": signed.oracle, "time": signed.time, "valid_until": signed.valid_until}


def op_credit_entry(given: Input) -> Values:
    """A hub's signed credit entry."""
    entry = verify_credit_entry(given.data("entry"), load_public_key(given.data("key")))
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in vars(entry).items()}


def op_check_credit(given: Input) -> Values:
    """Whether an entry is the credit that a statement asked for; with ``now``, whether it may be drawn on."""
    entry = verify_credit_entry(given.data("entry"), load_public_key(given.data("key")))
    stated, snap = statement_from_bytes(given.data("statement")), snapshot_from_bytes(given.data("snapshot"))
    chain = given.text("caip2") if given.has("caip2") else None
    check_credit(entry, stated, attestation_of(given), snap, caip2=chain, now=given.optional_number("now"))
    return {}


def op_credit_follows(given: Input) -> Values:
    """Whether a newer entry continues the same credit."""
    key = load_public_key(given.data("key"))
    check_follows(verify_credit_entry(given.data("old"), key), verify_credit_entry(given.data("new"), key))
    return {}


def op_tree_head(given: Input) -> Values:
    """A signed head of the log."""
    head = verify_tree_head(given.data("head"), load_public_key(given.data("key")), now=given.optional_number("now"))
    return {"hub": head.hub, "size": head.size, "root": head.root.hex(), "time": head.time}


def op_head_extends(given: Input) -> Values:
    """Whether one head extends another."""
    key = load_public_key(given.data("key"))
    heads: list[TreeHead] = [verify_tree_head(given.data(name), key) for name in ("old", "new")]
    check_extends(heads[0], heads[1], given.bytes_list("path"))
    return {}


def op_log_leaf(given: Input) -> Values:
    """The leaf hash of an attestation document."""
    return {"leaf": attestation_leaf(given.data("attestation")).hex()}


def op_log_inclusion(given: Input) -> Values:
    """Whether a leaf is under a root."""
    path, root = given.bytes_list("path"), given.hex("root")
    verify_inclusion(given.hex("leaf"), given.number("index"), given.number("size"), path, root)
    return {}


def op_log_consistency(given: Input) -> Values:
    """Whether a tree begins with an earlier one."""
    old, new = given.number("old_size"), given.number("new_size")
    verify_consistency(old, given.hex("old_root"), new, given.hex("new_root"), given.bytes_list("path"))
    return {}


def op_hub_keys(given: Input) -> Values:
    """The keys of a hub, followed from the pinned one."""
    documents = [text.encode() for text in given.texts("documents")]
    chain = KeyChain.follow(documents, load_public_key(given.data("key")))
    return {"hub": chain.hub, "keys": [key.key.hex() for key in chain.keys]}


OPERATIONS: dict[str, Operation] = {
    "public-key": op_public_key,
    "attestation": op_attestation,
    "attested": op_attested,
    "authorisation": op_authorisation,
    "signed-snapshot": op_signed_snapshot,
    "credit-entry": op_credit_entry,
    "check-credit": op_check_credit,
    "credit-follows": op_credit_follows,
    "tree-head": op_tree_head,
    "head-extends": op_head_extends,
    "log-leaf": op_log_leaf,
    "log-inclusion": op_log_inclusion,
    "log-consistency": op_log_consistency,
    "hub-keys": op_hub_keys,
}
