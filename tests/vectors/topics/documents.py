"""Canonical JSON, snapshots, statements: digests, and documents that have none."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any

from tests.vectors.accounts import ACCOUNTS
from tests.vectors.cases import Cases, changed, text, without
from tests.vectors.seed import HUB
from zkmargin.circuits import canonical
from zkmargin.service.vectors.case import Tree

NAME, TITLE = "documents", "Canonical JSON; digests of snapshots and statements"
MALFORMED = "malformed-input"
Change = tuple[str, str, str, Callable[[Tree], Tree]]


def write(cases: Cases) -> None:
    """All cases."""
    _json(cases)
    _statements(cases)
    _snapshots(cases)


def _json(cases: Cases) -> None:
    good = (
        ("{}", "empty object"),
        ('{"b":1,"a":2}', "keys are sorted"),
        ('{ "a" : [ 1 , -2 , 0 ] }', "white space goes"),
        ('{"\\u00e9":1,"e":2,"\\ud83d\\ude00":3,"\\ufb33":4}', "keys sort by UTF-16 code units, not by code points"),
        ('{"a":"\\u0041\\/\\n\\u0007\\"\\\\"}', "escapes in their shortest form"),
        ('["\\u007f","\\u2028","<>&"]', "nothing else is escaped"),
        ("[9007199254740991,-9007199254740991]", "the largest integers"),
        ("[-0]", "minus zero is zero"),
        ("[" * 12 + "1" + "]" * 12, "nested 12 deep"),
        ('[true,false,null,""]', "the other values"),
    )
    for source, comment in good:
        cases.valid("canonical-json", {"bytes": source.encode().hex()}, comment)
    bad: list[tuple[str, str, bytes]] = [
        ("DuplicateKey", "the same key twice", b'{"a":1,"a":1}'),
        ("DuplicateKey", "the same key, once escaped", b'{"a":1,"\\u0061":2}'),
        ("DuplicateKey", "inside an array", b'[{"a":{"b":1,"b":2}}]'),
        ("Float", "a point", b"[1.0]"),
        ("Float", "an exponent", b"[1e2]"),
        ("Float", "a negative exponent", b"[10E-1]"),
        ("Float", "NaN", b"[NaN]"),
        ("Float", "Infinity", b"[-Infinity]"),
        ("LargeInteger", "2^53", b"[9007199254740992]"),
        ("LargeInteger", "-2^53", b"[-9007199254740992]"),
        ("LargeInteger", "twenty digits", b"[10000000000000000000]"),
        ("InvalidUtf8", "a stray continuation byte", b'["\x80"]'),
        ("InvalidUtf8", "an overlong slash", b'["\xc0\xaf"]'),
        ("InvalidUtf8", "a surrogate in UTF-8", b'["\xed\xa0\x80"]'),
        ("InvalidUtf8", "a byte-order mark", b"\xef\xbb\xbf{}"),
        ("InvalidUtf8", "UTF-16", '{"a":1}'.encode("utf-16")),
        ("LoneSurrogate", "a value", b'["\\ud800"]'),
        ("LoneSurrogate", "a key", b'{"\\udc00":1}'),
        ("TooDeep", "13 arrays", b"[" * 13 + b"1" + b"]" * 13),
        ("TooDeep", "objects", b'{"a":' * 13 + b"1" + b"}" * 13),
        ("NotJson", "empty", b""),
        ("NotJson", "a comma at the end", b"[1,]"),
        ("NotJson", "a second document", b"{} {}"),
        ("NotJson", "single quotes", b"{'a':1}"),
        ("NotJson", "a leading zero", b"[01]"),
        ("NotJson", "a plus sign", b"[+1]"),
        ("NotJson", "a comment", b"[1] // one"),
        ("NotJson", "an unescaped line break in a string", b'["a\nb"]'),
        ("NotJson", "not closed", b'{"a":1'),
    ]
    for flag, comment, data in bad:
        cases.invalid("canonical-json", {"bytes": data.hex()}, flag, MALFORMED, comment)


def set_to(path: str, value: Any) -> Callable[[Tree], Tree]:
    """A change of one member."""
    return lambda tree: changed(tree, path, value)


def drop(path: str) -> Callable[[Tree], Tree]:
    """A member left out."""
    return lambda tree: without(tree, path)


def statement_faults(commitment: str) -> Iterator[Change]:
    """(flag, comment, code, change) of statements that are none."""
    m = MALFORMED
    yield "UnknownKey", "a member more", m, set_to("note", "x")
    yield "UnknownKey", "a member more in the context", m, set_to("context.note", "x")
    for path in ("commitment", "amount", "level", "context.nonce", "context", "delta"):
        yield "MissingKey", f"without {path}", m, drop(path)
    yield "WrongSchema", "version 2", m, set_to("schema", "zkmargin/statement/2")
    yield "WrongSchema", "another kind", m, set_to("schema", "zkmargin/snapshot/1")
    yield "WrongSchema", "another type", m, set_to("type", "account-reserve")
    yield "WrongType", "an amount as a number", m, set_to("amount", 1)
    yield "WrongType", "a horizon as a string", m, set_to("horizon", "3600")
    yield "WrongType", "an epoch as a boolean", m, set_to("context.epoch", True)
    yield "WrongType", "a delta as an object", m, set_to("delta", {})
    yield "WrongType", "a null amount", m, set_to("amount", None)
    yield "BadHex", "upper case", m, set_to("commitment", commitment.upper())
    yield "BadHex", "a commitment of 47 bytes", m, set_to("commitment", commitment[:-2])
    yield "BadHex", "a nonce of 15 bytes", m, set_to("context.nonce", "00" * 15)
    yield "BadHex", "a digest with a prefix", m, set_to("snapshot", "0x" + "00" * 31)
    yield "BadName", "an empty account", m, set_to("context.account", "")
    yield "BadName", "a space", m, set_to("context.spoke", "spoke 1")
    yield "BadName", "65 characters", m, set_to("context.spoke", "s" * 65)
    yield "BadName", "a line break at the end", m, set_to("context.hub", HUB + "\n")
    for value in ("-0", "1e3", "+1", "01", ".5", "1.", "0x1", " 1", "1" * 42, "0." + "1" * 31):
        flag = "NegativeZero" if value == "-0" else "BadDecimal"
        # A statement's digest does not look into a number; what it stands for is read when it is bound.
        yield flag, f"multiplier {value[:12]!r}", m, set_to("multiplier", value)
    for value in ("0", "-1", "1000.000001", "1.0000001"):
        yield "OutOfRange", f"multiplier {value}", m, set_to("multiplier", value)
    for number in (0, -1, 366 * 86400 + 1):
        yield "OutOfRange", f"horizon {number}", m, set_to("horizon", number)
    yield "OutOfRange", "an epoch of 2^53", m, set_to("context.epoch", 2**53)
    yield "OutOfRange", "a negative epoch", m, set_to("context.epoch", -1)
    yield "OutOfRange", "an expiry in year 10000", m, set_to("context.expiry", 253_402_300_800)
    yield "OtherDomain", "a domain that does not exist", m, set_to("domain", 128)
    yield "OtherTerms", "an unknown level", m, set_to("level", "Initial")
    yield "EmptyOptional", "no election", m, set_to("elections", {})
    yield "EmptyOptional", "no overlay", m, set_to("overlays", [])
    for path in ("elections", "overlays"):
        yield "EmptyOptional", f"{path} that are null", m, set_to(path, None)
    yield "BadOverlay", "not sorted", m, set_to("overlays", ["b", "a"])
    yield "BadOverlay", "twice", m, set_to("overlays", ["a", "a"])
    twice = [{"instrument": "USD", "quantity": "1"}, {"instrument": "USD", "quantity": "-1"}]
    yield "DuplicateInstrument", "one instrument twice in the delta", m, set_to("delta", twice)


def _statements(cases: Cases) -> None:
    account = ACCOUNTS["cross"]
    tree = account.statement_tree()
    accepted: list[tuple[str, Tree]] = [
        ("plain", tree),
        ("with a delta", account.statement_tree(delta=[{"instrument": "USD", "quantity": "-5"}])),
        ("an amount with a trailing zero has a digest of its own", account.statement_tree(amount="1.0")),
        ("and without it another", account.statement_tree(amount="1")),
        ("elections", ACCOUNTS["portfolio"].statement_tree()),
        ("overlays", ACCOUNTS["tiered"].statement_tree(overlays=["delta", "leverage"])),
        ("the largest epoch and horizon", account.statement_tree(epoch=2**53 - 1, horizon=366 * 86400)),
        ("the largest multiplier", account.statement_tree(multiplier="1000")),
        ("a name of every allowed character", account.statement_tree(spoke="Az09._:/+-")),
    ]
    for comment, made in accepted:
        cases.valid("statement-digest", {"statement": text(made)}, comment)
    spaced = json.dumps(dict(reversed(list(tree.items()))), indent=2)
    cases.valid(
        "statement-digest", {"statement": spaced}, "another order and white space: the digest of the first case"
    )
    for flag, comment, code, change in statement_faults(account.commitment.hex()):
        cases.invalid("statement-digest", {"statement": text(change(tree))}, flag, code, comment)
    duplicate = text(tree).replace('"amount":"0"', '"amount":"0","amount":"0"')
    cases.invalid("statement-digest", {"statement": duplicate}, "DuplicateKey", MALFORMED, "the amount twice")
    floated = text(tree).replace('"horizon":3600', '"horizon":3600.0')
    cases.invalid("statement-digest", {"statement": floated}, "Float", MALFORMED, "a horizon with a point")
    _claimed_digests(cases, tree)


def _claimed_digests(cases: Cases, tree: Tree) -> None:
    """Digests of the right document, made in a wrong way."""
    data = canonical.canonical_bytes(tree)
    domain = b"zkmargin/statement/1\x00"
    right = hashlib.sha256(domain + data).digest()
    claims = [
        ("WrongDomainSeparation", "no domain string", hashlib.sha256(data).digest()),
        ("WrongDomainSeparation", "no zero byte", hashlib.sha256(domain[:-1] + data).digest()),
        ("WrongDomainSeparation", "the snapshot's domain",
         hashlib.sha256(b"zkmargin/snapshot/1\x00" + data).digest()),
        ("NotCanonical", "over indented JSON",
         hashlib.sha256(domain + json.dumps(tree, indent=1).encode()).digest()),
        ("NotCanonical", "a line break at the end", hashlib.sha256(domain + data + b"\n").digest()),
        ("WrongDigest", "hashed twice", hashlib.sha256(right).digest()),
        ("EqualDigestPrefix", "the right first 30 bytes", right[:30] + bytes(a ^ 1 for a in right[30:])),
        ("WrongDigest", "the bytes reversed", right[::-1]),
    ]  # fmt: skip
    given = {"statement": text(tree), "claimed": right.hex()}
    cases.valid("statement-digest", given, "the right digest")
    for flag, comment, digest in claims:
        given = {"statement": text(tree), "claimed": digest.hex()}
        cases.invalid("statement-digest", given, flag, "value-mismatch", comment)


def snapshot_faults() -> Iterator[Change]:
    """(flag, comment, code, change) of snapshots that are none."""
    m = MALFORMED
    yield "UnknownKey", "a member more", m, set_to("note", "x")
    yield "UnknownKey", "a member more in an instrument", m, set_to("instruments.0.note", "x")
    for path in ("time", "rule.parameters", "instruments.2.mark", "quote.value_decimals"):
        yield "MissingKey", f"without {path}", m, drop(path)
    yield "WrongSchema", "version 2", m, set_to("schema", "zkmargin/snapshot/2")
    yield "WrongType", "a mark as a number", m, set_to("instruments.2.mark", 64)
    yield "WrongType", "a time as a string", m, set_to("time", "1700000000")
    yield "EmptyOptional", "no Greek", m, set_to("instruments.2.greeks", {})
    for path in ("axes", "source", "rule.overlays", "instruments.2.greeks", "instruments.2.risk"):
        yield "EmptyOptional", f"{path} that is null", m, set_to(path, None)
    yield "BadName", "a kind that does not exist", m, set_to("instruments.2.kind", "swap")
    yield "DuplicateInstrument", "one id twice", m, set_to("instruments.3.id", "PERP-2")
    yield "OutOfRange", "a scenario twice", m, set_to("scenarios.1", "scenario-0")
    yield "OutOfRange", "a value less than scenarios", m, set_to("instruments.2.values", ["0.6425", "0.6"])
    yield "OutOfRange", "fewer value decimals than decimals", m, set_to("quote.value_decimals", 1)
    yield "OutOfRange", "a lot of zero", m, set_to("instruments.2.lot", "0")
    yield "OutOfRange", "a negative mark", m, set_to("instruments.2.mark", "-1")
    yield "OutOfRange", "a mark of zero beside values that are not", m, set_to("instruments.2.mark", "0")
    yield "OutOfRange", "a position limit of 2^63 lots", m, set_to("instruments.2.position_limit", str(2**63))
    yield "OffGrid", "a position limit off the lot grid", m, set_to("instruments.2.position_limit", "1.005")
    yield "OffGrid", "a value finer than value_decimals", m, set_to("instruments.2.values.0", "0.6425001")
    yield "TooManyBits", "a value per lot of 97 bits", m, set_to("instruments.2.values.0", str(2**96))
    yield "OutOfRange", "cash that falls in a scenario", m, set_to("instruments.0.values.1", "0.009999")
    yield "OutOfRange", "a credit that is an asset", m, set_to("instruments.1.values.1", "0.01")
    yield "NegativeZero", "a mark of -0", m, set_to("instruments.2.mark", "-0")
    yield "BadDecimal", "a mark with an exponent", m, set_to("instruments.2.mark", "6.4e1")


def _snapshots(cases: Cases) -> None:
    for name in ("cross", "cross-k3", "tiered", "loans", "span", "portfolio"):
        given = {"snapshot": cases.library.put(f"snapshot-{name}", ACCOUNTS[name].tree)}
        cases.valid("snapshot-digest", given, f"the snapshot of {name}")
    tree = ACCOUNTS["cross"].tree
    plain = without(without(tree, "source"), "instruments.0.risk")
    cases.valid("snapshot-digest", {"snapshot": text(plain)}, "an absent source and risk count as empty", "EdgeCase")
    cases.valid("snapshot-digest", {"snapshot": json.dumps(tree, indent=1)}, "white space changes nothing")
    priced = changed(tree, "instruments.2.values.1", "0.6")
    cases.valid("snapshot-digest", {"snapshot": text(priced)}, "other prices: another digest, the same registry")
    trailing = changed(tree, "instruments.2.lot", "0.010")
    cases.valid("snapshot-digest", {"snapshot": text(trailing)}, "a lot of 0.010: another digest, the same registry")
    for flag, comment, code, change in snapshot_faults():
        cases.invalid("snapshot-digest", {"snapshot": text(change(tree))}, flag, code, comment)
