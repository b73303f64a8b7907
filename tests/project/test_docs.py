"""The documents' examples are real: the files in docs/FILES.md parse, belong together and verify."""

from __future__ import annotations

import base64
import json
import re

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.support.places import ROOT
from zkmargin.circuits import statement
from zkmargin.circuits.canonical import canonical_bytes
from zkmargin.circuits.documents.snapshot import snapshot_from_bytes
from zkmargin.circuits.documents.statement import statement_from_bytes
from zkmargin.prover.documents import parse_opening, parse_proof, portfolio_lots
from zkmargin.service.client.policy import Policy
from zkmargin.service.client.signing import RequestSigner
from zkmargin.service.keys.request_signatures import verify_request
from zkmargin.service.keys.signing import sign_credit_entry, sign_hub_key, sign_tree_head
from zkmargin.service.ledger import merkle_tree as tree
from zkmargin.verifier.facts.attestation import check_attested, load_public_key, verify_attestation
from zkmargin.verifier.facts.credit_entry import check_credit, verify_credit_entry
from zkmargin.verifier.facts.hub_keys import verify_hub_key
from zkmargin.verifier.facts.transparency import verify_tree_head
from zkmargin.verifier.verify import verify

FILES = (ROOT / "docs" / "FILES.md").read_text()
NOW = 1_700_000_060


def block(name: str) -> bytes:
    """The fenced block that follows the line naming a file."""
    found = re.search(rf"^.*`{re.escape(name)}`:\n\n```[^\n]*\n(.*?)^```", FILES, re.S | re.M)
    assert found, f"no example named {name}"
    text = found[1]
    if text.startswith("printf"):  # the token is wrapped over lines for the page
        token = "".join(re.findall(r"^  ([A-Za-z0-9_.-]+) ?\\?$", text, re.M))
        return json.dumps({"schema": "zkmargin/attestation/1", "jws": token}).encode()
    if "printf" in text:
        pytest.fail(f"{name} is built by a command that this test does not know")
    return text.encode()


def test_the_examples_belong_together_and_verify() -> None:
    snap = snapshot_from_bytes(block("snapshot.json"))
    stated = statement_from_bytes(block("statement.json"))
    opening = parse_opening(block("opening.json"), snap)
    attested = verify_attestation(block("attestation.json"), load_public_key(block("hub.pub")))
    assert portfolio_lots(block("portfolio.json"), snap) == list(opening.lots)
    check_attested(stated, snap, attested, now=NOW)
    verify(stated, snap, parse_proof(proof_document(), stated), now=NOW)


def proof_document() -> bytes:
    """The proof example, whose long hex string the page may wrap the same way."""
    found = re.search(r"`proof.json`:\n\n```[^\n]*\n(.*?)^```", FILES, re.S | re.M)
    assert found
    digest = re.search(r"\b[0-9a-f]{64}\b", found[1])
    assert digest
    proof = "".join(re.findall(r"^  ([0-9a-f]{2,100})(?: \\)?$", found[1], re.M))
    return json.dumps({"schema": "zkmargin/proof/1", "statement": digest[0], "proof": proof}).encode()


def test_the_payload_shown_is_the_signed_one() -> None:
    """The payload under the attestation's token, byte by byte but for the layout."""
    found = re.search(r"^```json test=\S+::test_the_payload_shown_is_the_signed_one\n(.*?)^```", FILES, re.S | re.M)
    assert found
    token = json.loads(block("attestation.json"))["jws"].split(".")[1]
    signed = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    assert canonical_bytes(json.loads(found[1])) == signed


def test_the_fragments_shown_are_of_their_form() -> None:
    """The purpose, put into the example's statement with its own members; and the policy."""
    found = re.findall(r"^```json test=\S+::test_the_fragments_shown_are_of_their_form\n(.*?)^```", FILES, re.S | re.M)
    purpose, policy = (json.loads(text) for text in found)
    tree = json.loads(block("statement.json")) | {"schema": "zkmargin/statement/2"} | purpose
    stated = statement_from_bytes(canonical_bytes(tree))
    statement.bind(stated, snapshot_from_bytes(block("snapshot.json")))
    assert stated.purpose.name == "credit"
    assert [rule.amount for rule in Policy.from_bytes(canonical_bytes(policy)).credits] == ["50000"]


def test_the_signed_facts_of_the_log_document_are_exact() -> None:
    """Signed anew with the secret keys of RFC 8032 section 7.1, tests 1 and 2."""
    text = (ROOT / "docs" / "LOG.md").read_text()
    first = Ed25519PrivateKey.from_private_bytes(
        bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    )
    public = first.public_key()
    kinds = {
        "hub-key/1": (verify_hub_key, sign_hub_key),
        "tree-head/1": (verify_tree_head, sign_tree_head),
        "credit/1": (verify_credit_entry, sign_credit_entry),
    }
    found = re.findall(r"```json[^\n]*\n(\{.*\})\n```\n\n    ([A-Za-z0-9_-]{86})\n", text)
    assert len(found) == 4
    for payload, signature in found:
        name = json.loads(payload)["schema"].removeprefix("zkmargin/")
        verify_fact, sign = kinds[name]
        header = f'{{"alg":"EdDSA","typ":"zkmargin-{name.removesuffix("/1")}+jws"}}'
        parts = [base64.urlsafe_b64encode(part.encode()).rstrip(b"=").decode() for part in (header, payload)]
        document = canonical_bytes({"schema": f"zkmargin/{name}", "jws": ".".join([*parts, signature])})
        fact = verify_fact(document, public)
        assert sign(fact, first) == document  # type: ignore[operator]
    snap, stated = snapshot_from_bytes(block("snapshot.json")), statement_from_bytes(block("statement.json"))
    entry = verify_credit_entry(document, public)
    check_credit(entry, stated, verify_attestation(block("attestation.json"), load_public_key(block("hub.pub"))), snap)
    frontier = tree.EMPTY
    for token in ("a.b.c", "d.e.f", "g.h.i"):
        frontier, _ = tree.append(frontier, tree.leaf_hash(token.encode()))
        assert frontier.size == 2 or tree.root(frontier).hex() in text


def test_the_signed_request_of_the_document_is_exact() -> None:
    """What the client signs, what the server takes, and the bytes between, checked without either's library."""
    text = (ROOT / "docs" / "REQUESTS.md").read_text()
    found = re.search(
        r"```http[^\n]*\n(POST) ([^?]*)\?(.*)\n((?:.*\n)*?)\n(.*)\n```\n\n.*\n\n```text[^\n]*\n([^`]*)\n```", text
    )
    assert found
    method, path, query, lines, body, base = found.groups()
    headers = [(name, value) for name, value in (line.split(": ", 1) for line in lines.splitlines())]
    key = Ed25519PrivateKey.from_private_bytes(
        bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    )
    signature = base64.b64decode(dict(headers)["signature"].split(":")[1])
    key.public_key().verify(signature, base.encode())
    verified = verify_request(
        method=method, path=path, query=query, headers=headers, body=body.encode(), key_of=lambda _: key.public_key(),
        now=1_700_000_060, hub="hub-1",
    )  # fmt: skip
    again = RequestSigner(key, "hub-1").sign(
        method, path, query, dict(headers[:1]), body.encode(), now=verified.created, nonce=lambda _: verified.nonce
    )
    assert {name.lower(): value for name, value in again.items()} == dict(headers)


def test_the_specification_names_the_digests_of_the_example() -> None:
    spec = (ROOT / "docs" / "SPEC.md").read_text()
    snap = snapshot_from_bytes(block("snapshot.json"))
    stated = statement_from_bytes(block("statement.json"))
    for value in (snap.digest, snap.registry_digest, stated.digest, statement.bind(stated, snap).program.system.digest):
        assert value.hex() in spec
