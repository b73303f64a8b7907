"""What is fuzzed: every function that turns bytes of others into types. Each may raise a typed error and nothing else.

Signed documents are fuzzed twice: as they arrive, and behind the signature, where the payload is the fuzzer's and
the signature a good one. Snapshots are compiled too, at every level and under every overlay, so that rule parameters
are fuzzed through the rules that read them.
"""

from __future__ import annotations

import copy
import json
import os
import random
import secrets
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from zkmargin.circuits import canonical, statement
from zkmargin.circuits.documents.snapshot import snapshot_from_bytes
from zkmargin.circuits.documents.statement import statement_from_bytes
from zkmargin.circuits.errors import ZkMarginError
from zkmargin.circuits.rules import LEVELS, Terms, build
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.circuits.statement import Statement
from zkmargin.circuits.strict_json import parse_json
from zkmargin.prover import solvency
from zkmargin.prover.documents import parse_opening, parse_proof, portfolio_lots
from zkmargin.service import files
from zkmargin.service.cli.words import in_words
from zkmargin.service.client.negotiation import Demand, Offer
from zkmargin.service.client.policy import NotCovered, Policy
from zkmargin.service.keys.signing_keys import load_private_key
from zkmargin.service.oracle.config import parse_config
from zkmargin.service.oracle.feeds import TOKEN_TYPE as FEED_TYPE
from zkmargin.service.oracle.feeds import open_feed
from zkmargin.verifier.argument.v1 import encoding
from zkmargin.verifier.curve import decode_g1
from zkmargin.verifier.facts import attestation, authorisation, jws, snapshot_signature
from zkmargin.verifier.field import decode_scalar
from zkmargin.verifier.verify import verify

CORPUS = Path(__file__).parent / "corpus"
KEY = Ed25519PrivateKey.from_private_bytes(b"zkmargin fuzzing, no secret here")
Target = Callable[[bytes], object]


@lru_cache
def example_snapshot() -> Snapshot:
    """The snapshot of docs/FILES.md, to which the other seeds belong."""
    return snapshot_from_bytes((CORPUS / "snapshot" / "files").read_bytes())


@lru_cache
def example_statement() -> Statement:
    """The statement of docs/FILES.md."""
    return statement_from_bytes((CORPUS / "statement" / "files").read_bytes())


def signed(payload: bytes, token_type: str) -> str:
    """A token over any bytes, signed well."""
    return jwt.PyJWS().encode(payload, KEY, algorithm="EdDSA", headers={"typ": token_type})


def document(schema: str, **members: str) -> bytes:
    """A document of strings."""
    return json.dumps({"schema": schema} | members).encode()


def fuzz_snapshot(data: bytes) -> None:
    """A snapshot, its rule at every level, and its system on the largest domain."""
    snap = snapshot_from_bytes(data)
    if snapshot_from_bytes(snap.to_bytes()).digest != snap.digest:
        raise AssertionError("a snapshot that does not survive its own bytes")
    overlays = tuple(sorted(snap.tree["rule"].get("overlays") or {}))
    for level in LEVELS:
        terms = Terms(level, Fraction(1), 3600, (), overlays)
        rule = build(snap, terms)
        choice = solvency.best_choice(rule, [0] * len(snap.instruments))
        chosen = Terms(level, Fraction(1), 3600, tuple(sorted(choice.items())), overlays)
        statement.compile_terms(snap, chosen).system.layout(2048)


def fuzz_statement(data: bytes) -> None:
    """A statement, checked against the time and bound to a snapshot."""
    stated = statement_from_bytes(data)
    if statement_from_bytes(stated.to_bytes()).digest != stated.digest:
        raise AssertionError("a statement that does not survive its own bytes")
    verify(stated, example_snapshot(), bytes(3), now=1_700_000_060)


def fuzz_bound_statement(data: bytes) -> None:
    """A statement that always names the snapshot, with a proof that has its shape."""
    tree = parse_json(data)
    if isinstance(tree, dict):
        tree["snapshot"] = example_snapshot().digest.hex()
    stated = statement_from_bytes(json.dumps(tree).encode())
    verify(stated, example_snapshot(), (CORPUS / "proof" / "files").read_bytes())


def fuzz_attestation_payload(data: bytes) -> None:
    """The hub signs anything."""
    token = signed(data, attestation.TOKEN_TYPE)
    fact = attestation.verify_attestation(document("zkmargin/attestation/1", jws=token), KEY.public_key())
    attestation.check_attested(example_statement(), example_snapshot(), fact, now=1_700_000_060)


@lru_cache
def purpose_statements() -> tuple[Statement, ...]:
    """A statement of version 2 for each purpose."""
    return tuple(statement_from_bytes(path.read_bytes()) for path in sorted((CORPUS / "purpose_statement").iterdir()))


def fuzz_purpose_statement(data: bytes) -> None:
    """A statement of either version, bound to the snapshot: its purpose fits, and its words are those it had."""
    stated = statement_from_bytes(data)
    again = statement_from_bytes(stated.to_bytes())
    if (again.digest, again.purpose) != (stated.digest, stated.purpose):
        raise AssertionError("a statement that does not survive its own bytes")
    bound = dict(stated.tree) | {"snapshot": example_snapshot().digest.hex(), "rule": example_snapshot().rule_id}
    joined = statement.bind(statement_from_bytes(canonical.canonical_bytes(bound)), example_snapshot())
    in_words(joined.statement, example_snapshot())


def fuzz_authorisation_payload(data: bytes) -> None:
    """The account's key signs anything."""
    whole = document(authorisation.SCHEMA, jws=signed(data, authorisation.TOKEN_TYPE))
    consent = authorisation.verify_authorisation(whole, KEY.public_key())
    authorisation.check_authorises(consent, purpose_statements()[0], now=1_700_000_060)


def fuzz_policy(data: bytes) -> None:
    """A holder's policy, asked about every purpose."""
    policy = Policy.from_bytes(data)
    if Policy.from_bytes(policy.to_bytes()) != policy:
        raise AssertionError("a policy that does not survive its own bytes")
    for stated in purpose_statements():
        with suppress(NotCovered):
            policy.check(stated, example_snapshot(), 1_700_000_060)


def fuzz_demand(data: bytes) -> None:
    """A venue's demand, beside a statement made for the same use: it is what was demanded, or it is not."""
    demand = Demand.from_bytes(data)
    if Demand.from_bytes(demand.to_bytes()) != demand:
        raise AssertionError("a demand that does not survive its own bytes")
    for stated in purpose_statements():
        if type(stated.purpose) is type(demand.purpose):
            demand.check(stated)


def fuzz_offer(data: bytes) -> None:
    """A holder's offer."""
    offer = Offer.from_bytes(data)
    if Offer.from_bytes(offer.to_bytes()).statement.digest != offer.statement.digest:
        raise AssertionError("an offer that does not survive its own bytes")
    offer.evidence()


def fuzz_signed_snapshot_payload(data: bytes) -> None:
    """The oracle signs anything."""
    token = signed(data, snapshot_signature.TOKEN_TYPE)
    whole = document(snapshot_signature.SCHEMA, jws=token)
    snapshot_signature.verify_snapshot_signature(whole, example_snapshot(), KEY.public_key(), now=1_700_000_060)


def fuzz_feed_payload(data: bytes) -> None:
    """A source signs anything."""
    source = "alpha"
    open_feed(document("zkmargin/feed/1", source=source, jws=signed(data, FEED_TYPE)), KEY.public_key())


def fuzz_sealed(data: bytes) -> None:
    """A sealed file, under a passphrase."""
    os.environ["ZKMARGIN_PASSPHRASE"] = "correct-horse"  # noqa: S105 - of the example in docs/FILES.md
    files.unseal(data, name="file")


TARGETS: dict[str, Target] = {
    "json": parse_json,
    "snapshot": fuzz_snapshot,
    "statement": fuzz_statement,
    "bound_statement": fuzz_bound_statement,
    "portfolio": lambda data: portfolio_lots(data, example_snapshot()),
    "opening": lambda data: parse_opening(data, example_snapshot()),
    "attestation": lambda data: attestation.verify_attestation(data, KEY.public_key()),
    "attestation_payload": fuzz_attestation_payload,
    "purpose_statement": fuzz_purpose_statement,
    "authorisation": lambda data: authorisation.verify_authorisation(data, KEY.public_key()),
    "authorisation_payload": fuzz_authorisation_payload,
    "policy": fuzz_policy,
    "demand": fuzz_demand,
    "offer": fuzz_offer,
    "proof_document": lambda data: encoding.decode(parse_proof(data, example_statement())),
    "proof": encoding.decode,
    "point": lambda data: decode_g1(data, field="point"),
    "scalar": lambda data: decode_scalar(data, field="scalar"),
    "jws": lambda data: jws.open_token(data.decode("latin-1"), KEY.public_key(), "t", field="jws"),
    "signed_snapshot": lambda data: snapshot_signature.verify_snapshot_signature(
        data, example_snapshot(), KEY.public_key()
    ),
    "signed_snapshot_payload": fuzz_signed_snapshot_payload,
    "feed": lambda data: open_feed(data, KEY.public_key()),
    "feed_payload": fuzz_feed_payload,
    "oracle_config": parse_config,
    "sealed": fuzz_sealed,
    "public_key": attestation.load_public_key,
    "private_key": load_private_key,
}


def run(name: str, data: bytes) -> bool:
    """One input; whether it was accepted. Anything but a typed error escapes: that is the finding."""
    try:
        TARGETS[name](data)
    except ZkMarginError as err:
        json.dumps(err.to_json())
        str(err).encode()
        return False
    return True


def corpus(name: str) -> list[bytes]:
    """The committed inputs of a target, in order of their names."""
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]


#: What tends to break parsers of numbers, names and shapes.
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**53, 2**53 - 1, 10**30, "", "0", "-0", "1", "-1", "0.5", "1e5", "NaN", "9" * 41,
    "0." + "0" * 29 + "1", "9" * 41 + "." + "9" * 30, "\x00", "\ud800", "é", "a" * 65, "0" * 64, "f" * 96, [], {}, [[]],
    {"": 0}, [0], "USD", "maintenance",
)  # fmt: skip


def mutate_tree(data: bytes, rng: random.Random) -> bytes:
    """A JSON document with one to three places of its tree changed; other bytes with some bytes changed."""
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError):
        tree = None
    if not isinstance(tree, dict | list) or not tree or rng.random() < 0.1:
        return mutate_bytes(data, rng)
    for _ in range(rng.randint(1, 3)):
        places: list[tuple[Any, Any]] = []
        stack = [tree]
        while stack:
            node = stack.pop()
            for key in node if isinstance(node, dict) else range(len(node)):
                places.append((node, key))
                if isinstance(node[key], dict | list):
                    stack.append(node[key])
        if not places:
            break
        node, key = rng.choice(places)
        match rng.randrange(6):
            case 0:
                del node[key]
            case 1:
                node[key] = copy.deepcopy(rng.choice(ODD))
            case 2:
                other, place = rng.choice(places)
                node[key] = json.loads(json.dumps(other[place])) if len(json.dumps(other[place])) < 20_000 else 0
            case 3 if isinstance(node, dict):
                node[rng.choice(["x", "", "schema", str(key) + "x"])] = node.pop(key)
            case 3:
                node.append(node[key])
            case 4 if isinstance(node[key], str):
                text = list(node[key] or "0")
                text[rng.randrange(len(text))] = rng.choice("0123456789.-abcdefx/ ")
                node[key] = "".join(text)
            case 4 if isinstance(node[key], int):
                node[key] += rng.choice([-1, 1, 2**20, -(2**20)])
            case _:
                node[key] = [node[key]] if rng.random() < 0.3 else copy.deepcopy(rng.choice(ODD))
    return json.dumps(tree, ensure_ascii=rng.random() < 0.9).encode("utf-8", "surrogatepass")


def mutate_bytes(data: bytes, rng: random.Random) -> bytes:
    """Bytes with a few of them flipped, cut out, doubled or added."""
    out = bytearray(data or b"\x00")
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(out) + 1)
        match rng.randrange(5):
            case 0 if at < len(out):
                out[at] ^= 1 << rng.randrange(8)
            case 1 if at < len(out):
                out[at] = rng.choice([0, 0xFF, 0x7F, 0x80, rng.randrange(256)])
            case 2:
                del out[at : at + rng.randint(1, 8)]
            case 3:
                out[at:at] = out[at : at + rng.randint(1, 64)]
            case _:
                out[at:at] = rng.randbytes(rng.randint(1, 4))
    return bytes(out)


def fresh_seed() -> int:
    """A seed for a run that is not meant to repeat; the run prints it."""
    return secrets.randbits(32)
