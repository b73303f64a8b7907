"""A second reader of statements and authorisations, written from SPEC.md and FILES.md alone.

It imports nothing of the project: JSON, hashes and rational numbers are Python's, Ed25519 is ``cryptography``'s. So
what it accepts, and the digest that it finds, is what the words say.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

Tree = dict[str, Any]
Check = Callable[[Any], bool]
NAME = r"[A-Za-z0-9][A-Za-z0-9._:/+-]{0,63}"
DECIMAL = r"-?(0|[1-9][0-9]{0,40})(\.[0-9]{1,30})?"
LARGEST, LAST = 2**53 - 1, 253402300799


class Refused(Exception):
    """A document that is none, or does not go with the others. ``code`` is that of the error's name."""

    def __init__(self, why: str, code: str = "malformed-input") -> None:
        super().__init__(why)
        self.code = code


def need(condition: bool, why: str, code: str = "malformed-input") -> None:
    if not condition:
        raise Refused(why, code)


# "Canonical JSON and digests"


def parse(text: str) -> Any:
    def members(pairs: list[tuple[str, Any]]) -> Tree:
        need(len({key for key, _ in pairs}) == len(pairs), "a duplicate key")
        return dict(pairs)

    def integer(digits: str) -> int:
        need(len(digits) <= 17 and abs(int(digits)) <= LARGEST, "an integer beyond 2^53 - 1")
        return int(digits)

    def no_integer(_: str) -> Any:
        raise Refused("a number that is no integer literal")

    def walk(value: Any, depth: int) -> None:
        need(depth <= 12, "nested too deep")
        for item in [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else ():
            walk(item, depth + 1)

    try:
        tree = json.loads(
            text, object_pairs_hook=members, parse_int=integer, parse_float=no_integer, parse_constant=no_integer
        )
        text.encode()
    except ValueError:
        raise Refused("no JSON") from None
    walk(tree, 0)
    return tree


def canonical(tree: Any) -> bytes:
    """RFC 8785, of trees whose keys are ASCII."""
    return json.dumps(tree, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def digest(tree: Tree) -> str:
    """A document's schema is the domain of its digest."""
    return hashlib.sha256(tree["schema"].encode() + b"\x00" + canonical(tree)).hexdigest()


# Types of FILES.md


def matches(pattern: str) -> Check:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


def whole(low: int, high: int) -> Check:
    return lambda value: type(value) is int and low <= value <= high


def one_of(*values: object) -> Check:
    return lambda value: any(type(value) is type(v) and value == v for v in values)


def decimal(value: Any) -> bool:
    """With no negative zero."""
    if not isinstance(value, str) or not re.fullmatch(DECIMAL, value):
        return False
    return not (value.startswith("-") and Fraction(value) == 0)


def shape(tree: Any, members: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> None:
    """An object of exactly these members; an optional one may be absent, and never null."""
    may = optional or {}
    need(isinstance(tree, dict), "no object")
    need(set(members) <= set(tree) <= set(members) | set(may), "a member missing or too many")
    for name, value in tree.items():
        need(({**members, **may})[name](value), f"{name} is of another form")


# FILES.md, "Statement"

NAMES, TIME = matches(NAME), whole(0, LAST)
PURPOSES: dict[str, dict[str, Check]] = {
    "show": {},
    "credit": {"venue": NAMES, "amount": decimal, "expires": TIME},
    "trade": {"limit": decimal, "counterparty": NAMES},
    # 1 to 200 printable ASCII characters, no space at the ends.
    "withdrawal": {"destination": matches(r"[!-~]|[!-~][ -~]{0,198}[!-~]")},
}
OPTIONAL: dict[str, Check] = {
    "elections": lambda value: (
        isinstance(value, dict) and 1 <= len(value) <= 1024 and all(NAMES(k) and NAMES(v) for k, v in value.items())
    ),
    "overlays": lambda value: (
        isinstance(value, list) and 1 <= len(value) <= 64 and all(map(NAMES, value)) and value == sorted(set(value))
    ),
}


def a_delta(value: Any) -> bool:
    if not isinstance(value, list) or len(value) > 2048:
        return False
    for leg in value:
        shape(leg, {"instrument": NAMES, "quantity": decimal})
    return len({leg["instrument"] for leg in value}) == len(value)


def a_context(value: Any) -> bool:
    names = dict.fromkeys(("hub", "account", "spoke"), NAMES)
    numbers = {"epoch": whole(0, LARGEST), "expiry": TIME}
    shape(value, {**names, **numbers, "nonce": matches("[0-9a-f]{32}")})
    return True


def a_multiplier(value: Any) -> bool:
    return decimal(value) and 0 < Fraction(value) <= 1000 and (Fraction(value) * 10**6).denominator == 1


MEMBERS: dict[str, Check] = {
    "schema": one_of("zkmargin/statement/1", "zkmargin/statement/2"),
    "type": one_of("account-solvency"),
    "commitment": matches("[0-9a-f]{96}"),
    "domain": one_of(256, 512, 1024, 2048),
    "snapshot": matches("[0-9a-f]{64}"),
    "rule": NAMES,
    "level": one_of("initial", "liquidation-end", "maintenance"),
    "multiplier": a_multiplier,
    "horizon": whole(1, 31622400),
    "amount": decimal,
    "delta": a_delta,
    "context": a_context,
}


def a_purpose(value: Any) -> bool:
    kind = value.get("for") if isinstance(value, dict) else None
    need(isinstance(kind, str) and kind in PURPOSES, "no purpose")
    shape(value, {"for": one_of(kind), **PURPOSES[str(kind)]})
    return True


def fits(tree: Tree) -> None:
    """SPEC.md, "A purpose must fit its statement"."""
    purpose, context, delta = tree["purpose"], tree["context"], tree["delta"]
    quantities = [Fraction(leg["quantity"]) for leg in delta]
    match purpose["for"]:
        case "credit":
            need(purpose["venue"] == context["spoke"], "another venue")
            need(0 < Fraction(purpose["amount"]) <= Fraction(tree["amount"]), "more than is proved, or nothing")
            need(delta == [], "a credit on a delta")
        case "trade":
            need(Fraction(purpose["limit"]) >= 0, "a negative limit")
            need(bool(delta) and all(quantities), "no legs, or one of 0")
            need(purpose["counterparty"] != context["account"], "a trade with itself")
        case "withdrawal":
            need(context["spoke"] == context["hub"], "a withdrawal at a venue")
            need(len(delta) == 1 and quantities[0] < 0, "not one negative leg")


def statement(text: str) -> Tree:
    tree = parse(text)
    second = isinstance(tree, dict) and tree.get("schema") == "zkmargin/statement/2"
    shape(tree, {**MEMBERS, "purpose": a_purpose} if second else MEMBERS, OPTIONAL)
    if second:
        fits(tree)
    return tree  # type: ignore[no-any-return]


def bind(stated: Tree, snapshot: Tree) -> None:
    """SPEC.md, ``bind``, steps 1 to 3."""
    lines = [{"risk": {}, **line} for line in snapshot["instruments"]]
    found = digest({"source": "", **snapshot, "instruments": lines})
    need(stated["snapshot"] == found, "another snapshot", "statement-mismatch")
    need(stated["rule"] == snapshot["rule"]["id"], "another rule", "statement-mismatch")
    amount = Fraction(stated["amount"]) * 10 ** snapshot["quote"]["decimals"]
    need(amount.denominator == 1 and 0 <= amount < 2**128, "an amount off the grid")
    instruments = {line["id"]: line for line in snapshot["instruments"]}
    taken = Fraction(0)
    for leg in stated["delta"]:
        need(leg["instrument"] in instruments, "an unknown instrument")
        line = instruments[leg["instrument"]]
        lots = Fraction(leg["quantity"]) / Fraction(line["lot"])
        need(lots.denominator == 1 and abs(lots) <= 2**63 - 1, "a quantity off the grid")
        taken -= Fraction(leg["quantity"]) * Fraction(line["mark"])
    purpose = stated.get("purpose", {"for": "show"})
    if purpose["for"] == "trade":
        kinds = {instruments[leg["instrument"]]["kind"] for leg in stated["delta"]}
        need("credit" not in kinds, "a leg in credit", "statement-mismatch")
        need(taken <= Fraction(purpose["limit"]), "more than the limit", "statement-mismatch")


# FILES.md, "Authorisation"

PAYLOAD: dict[str, Check] = {
    "schema": one_of("zkmargin/authorisation/1"),
    "hub": NAMES,
    "account": NAMES,
    "statement": matches("[0-9a-f]{64}"),
    "time": TIME,
}


def unbase64(part: str) -> bytes:
    """Base64url without padding, in its one canonical form."""
    try:
        data = base64.b64decode(part + "=" * (-len(part) % 4), b"-_", validate=True)
    except ValueError:
        raise Refused("no base64url") from None
    need(base64.urlsafe_b64encode(data).rstrip(b"=").decode() == part, "not canonical base64url")
    return data


def authorisation(document: str, pem: str, stated: Tree, now: int | None) -> Tree:
    """What the account's key signed, if it is about this statement."""
    try:
        key = load_pem_public_key(pem.encode())
    except ValueError:
        raise Refused("no public key") from None
    need(isinstance(key, Ed25519PublicKey), "a key of another kind")
    whole_document = parse(document)
    shape(whole_document, {"schema": one_of("zkmargin/authorisation/1"), "jws": lambda value: isinstance(value, str)})
    parts = whole_document["jws"].split(".")
    need(len(parts) == 3, "no token of three parts")
    head, body, signature = map(unbase64, parts)
    shape(decoded(head), {"alg": one_of("EdDSA"), "typ": one_of("zkmargin-authorisation+jws")})
    try:
        key.verify(signature, f"{parts[0]}.{parts[1]}".encode())  # type: ignore[union-attr, call-arg, arg-type]
    except InvalidSignature:
        raise Refused("another signature", "signature-rejected") from None
    payload = decoded(body)
    shape(payload, PAYLOAD)
    need(canonical(payload) == body, "a payload that is not in canonical form")
    for name in ("hub", "account"):
        need(payload[name] == stated["context"][name], f"another {name}", "statement-mismatch")
    need(payload["statement"] == digest(stated), "another statement", "statement-mismatch")
    need(now is None or payload["time"] <= now + 30, "from the future", "stale-statement")
    return {name: payload[name] for name in ("hub", "account", "statement", "time")}


def decoded(data: bytes) -> Any:
    """Signed bytes as strict JSON."""
    try:
        return parse(data.decode())
    except UnicodeDecodeError:
        raise Refused("no UTF-8") from None
