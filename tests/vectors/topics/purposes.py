"""Statements of version 2: every purpose with its digest, and purposes that do not fit their statement."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any

from tests.vectors.accounts import ACCOUNTS, EXPIRY
from tests.vectors.cases import Cases, changed, text, without
from tests.vectors.seed import HUB
from tests.vectors.topics.documents import statement_faults
from zkmargin.circuits import canonical
from zkmargin.service.vectors.case import Tree

NAME, TITLE = "purposes", "Statements of version 2: purposes and digests"
MALFORMED, VERSION_1, VERSION_2 = "malformed-input", "zkmargin/statement/1", "zkmargin/statement/2"
SHOW: Tree = {"for": "show"}
CREDIT: Tree = {"for": "credit", "venue": "spoke-1", "amount": "5", "expires": EXPIRY}
TRADE: Tree = {"for": "trade", "limit": "10", "counterparty": "any"}
OUT: Tree = {"for": "withdrawal", "destination": "bank account 7"}
PURPOSES = (SHOW, CREDIT, TRADE, OUT)
#: The last second of a year of four digits.
LAST_TIME = 253_402_300_799
#: Every printable ASCII character but the space, which may stand inside.
PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))


def leg(name: str, quantity: str) -> Tree:
    """One leg of a delta."""
    return {"instrument": name, "quantity": quantity}


def terms(purpose: Any, **changes: Any) -> Tree:
    """Changed members that make an account's statement one of version 2 with this purpose, which fits it."""
    use = purpose.get("for") if isinstance(purpose, dict) else None
    made: Tree = {"schema": VERSION_2, "amount": "10", "purpose": purpose}
    if use == "trade":
        made["delta"] = [leg("USD", "-5")]
    if use == "withdrawal":
        made |= {"delta": [leg("USD", "-5")], "spoke": HUB}
    return made | changes


def stated(purpose: Any, **changes: Any) -> Tree:
    """A statement of the smallest account with this purpose, but for what is changed."""
    return ACCOUNTS["cross"].statement_tree(**terms(purpose, **changes))


#: (comment, statement, whether it lies at a limit)
GOOD: tuple[tuple[str, Tree, bool], ...] = (
    ("show", stated(SHOW), False),
    ("credit", stated(CREDIT), False),
    ("trade", stated(TRADE), False),
    ("withdrawal", stated(OUT), False),
    ("show after an order: what a reader makes of the delta is its own affair", stated(SHOW, delta=[leg("USD", "1")]),
     False),
    ("a credit of all that is proved", stated(CREDIT | {"amount": "10"}), True),
    ("a credit of all that is proved, in other digits", stated(CREDIT | {"amount": "10.00"}), True),
    ("a credit of all that is proved, the statement's amount in other digits", stated(CREDIT | {"amount": "10"},
     amount="10.0"), True),
    ("the smallest credit that can be written", stated(CREDIT | {"amount": "0." + "0" * 29 + "1"}), True),
    ("a credit of 5.0, which is 5 with another digest", stated(CREDIT | {"amount": "5.0"}), False),
    ("a credit that ended long ago: the hub looks at the clock, the digest does not", stated(CREDIT | {"expires": 0}),
     True),
    ("a credit to the last second of the year 9999", stated(CREDIT | {"expires": LAST_TIME}), True),
    ("a credit of the hub's own", stated(CREDIT | {"venue": HUB}, spoke=HUB), False),
    ("a venue of every allowed character", stated(CREDIT | {"venue": "Az09._:/+-"}, spoke="Az09._:/+-"), True),
    ("a trade that may take nothing", stated(TRADE | {"limit": "0"}), True),
    ("a trade that may take 0.00", stated(TRADE | {"limit": "0.00"}), True),
    ("a trade with a named account", stated(TRADE | {"counterparty": "bob"}), False),
    ("a trade with an account whose name differs in a letter's size", stated(TRADE | {"counterparty": "Alice"}), False),
    ("a trade with 64 characters", stated(TRADE | {"counterparty": "b" * 64}), True),
    ("a trade of two legs, one each way", stated(TRADE, delta=[leg("PERP-2", "1.5"), leg("USD", "-96.38")]), False),
    ("the legs in another order have another digest", stated(TRADE, delta=[leg("USD", "-96.38"), leg("PERP-2", "1.5")]),
     False),
    ("a trade at the hub", stated(TRADE, spoke=HUB), False),
    ("a trade that proves nothing besides", stated(TRADE, amount="0"), True),
    ("a withdrawal of another instrument", stated(OUT, delta=[leg("SPOT-3", "-0.001")]), False),
    ("a withdrawal that proves nothing besides", stated(OUT, amount="0"), True),
    ("a destination of one character", stated(OUT | {"destination": "!"}), True),
    ("a destination of one tilde", stated(OUT | {"destination": "~"}), True),
    ("a destination of 200 characters", stated(OUT | {"destination": "a" * 200}), True),
    ("a destination of every printable character", stated(OUT | {"destination": f"{PRINTABLE[:40]} {PRINTABLE[40:]}"}),
     True),
    ("a destination with spaces inside", stated(OUT | {"destination": "a  b"}), True),
)  # fmt: skip


def lacking(purpose: Tree, name: str) -> Tree:
    """A purpose without a member."""
    return {key: value for key, value in purpose.items() if key != name}


def _faults() -> Iterator[tuple[str, str, Tree]]:
    """(flag, comment, statement) of purposes that are none, or do not fit their statement."""
    plain = stated(SHOW)
    yield "BadPurpose", "version 2 without a purpose", without(plain, "purpose")
    yield "EmptyOptional", "version 2, a purpose that is null", stated(None)
    yield "EmptyOptional", "version 1, a purpose that is null", stated(None, schema=VERSION_1)
    for purpose in PURPOSES:
        yield "BadPurpose", f"version 1 with a purpose: {purpose['for']}", stated(purpose, schema=VERSION_1)
    for schema in ("zkmargin/statement/3", "zkmargin/statement", "zkmargin/statement/02"):
        yield "WrongSchema", f"the schema {schema}", stated(SHOW, schema=schema)
    for value, comment in (("show", "a string"), (["show"], "a list"), ([], "an empty list"), (True, "a boolean"),
                           (2, "a number")):  # fmt: skip
        yield "WrongType", f"a purpose that is {comment}", stated(value)
    yield "MissingKey", "a purpose of nothing", stated({})
    yield "MissingKey", "no kind of purpose", stated(lacking(CREDIT, "for"))
    for kind in ("gift", "Show", "show ", "", "trade/1"):
        yield "OtherTerms", f"another kind: {kind!r}", stated({"for": kind})
    for other in (["show"], None, 1, True, {"for": "show"}):
        yield "WrongType", f"a kind that is {json.dumps(other)}", stated({"for": other})
    yield from _members()
    yield from _misfits()


def _members() -> Iterator[tuple[str, str, Tree]]:
    """Each member of each purpose missing, null, of another type, too many."""
    for purpose in PURPOSES:
        use = purpose["for"]
        yield "UnknownKey", f"{use} with a member more", stated(purpose | {"note": "x"})
        for name, value in purpose.items():
            if name == "for":
                continue
            yield "MissingKey", f"{use} without {name}", stated(lacking(purpose, name))
            yield "EmptyOptional", f"{use}, {name} that is null", stated(purpose | {name: None})
            other: object = str(value) if isinstance(value, int) else 5
            yield "WrongType", f"{use}, {name} as {json.dumps(other)}", stated(purpose | {name: other})
            yield "WrongType", f"{use}, {name} in a list", stated(purpose | {name: [value]})
            yield "UnknownKey", f"show with {name}", stated(SHOW | {name: value})
    yield "UnknownKey", "credit with a destination", stated(CREDIT | {"destination": "x"})
    yield "UnknownKey", "trade with an amount", stated(TRADE | {"amount": "5"})
    yield "UnknownKey", "withdrawal with a venue", stated(OUT | {"venue": HUB})
    for use, purpose, name in (("credit", CREDIT, "amount"), ("trade", TRADE, "limit")):
        for value in ("-0", "1e1", "+5", "05", ".5", "5.", " 5", "", "5,000", "1" * 42, "0." + "1" * 31):
            flag = "NegativeZero" if value == "-0" else "BadDecimal"
            yield flag, f"{use}, {name} {value[:12]!r}", stated(purpose | {name: value})
    for use, purpose, name in (("credit", CREDIT, "venue"), ("trade", TRADE, "counterparty")):
        for value, comment in (("", "empty"), ("a b", "with a space"), ("a" * 65, "of 65 characters"), (".a", "that "
                               "begins with a point"), ("a\n", "with a line break at the end"), ("\u00e4", "that is no "
                               "ASCII")):  # fmt: skip
            yield "BadName", f"{use}, {name} {comment}", stated(purpose | {name: value})
    for number, comment in ((-1, "before 1970"), (LAST_TIME + 1, "in year 10000"), (2**53, "of 2^53")):
        flag = "LargeInteger" if number == 2**53 else "OutOfRange"
        yield flag, f"credit that ends {comment}", stated(CREDIT | {"expires": number})
    yield "WrongType", "credit whose end is a boolean", stated(CREDIT | {"expires": True})
    for value, comment in (
        ("", "nowhere"), (" ", "a space"), (" a", "a space first"), ("a ", "a space last"), ("a" * 201, "201 letters"),
        ("a\nb", "a line break"), ("a\n", "a line break last"), ("a\tb", "a tab"), ("\x1b[2Kvault", "an escape"),
        ("a\x7f", "a delete character"), ("a\x00b", "a zero character"), ("b\u00e4nk", "no ASCII"),
        ("a\u202eb", "a right-to-left override"), ("a\u00a0b", "a space that is no ASCII"),
    ):  # fmt: skip
        yield "BadName", f"withdrawal to {comment}", stated(OUT | {"destination": value})


def _misfits() -> Iterator[tuple[str, str, Tree]]:
    """Purposes of the right form that do not fit their statement."""
    flag, usd = "BadPurpose", leg("USD", "-5")
    for amount in ("0", "0.00", "-1", "-0.01"):
        yield flag, f"credit of {amount}", stated(CREDIT | {"amount": amount})
    for amount in ("10.01", "10." + "0" * 29 + "1", "1" + "0" * 40):
        yield flag, f"credit of {amount[:14]} where 10 is proved", stated(CREDIT | {"amount": amount})
    yield flag, "credit of something where nothing is proved", stated(CREDIT, amount="0")
    yield flag, "credit of nothing where nothing is proved", stated(CREDIT | {"amount": "0"}, amount="0")
    for venue, comment in (("spoke-2", "another venue"), ("Spoke-1", "the venue in other letters"), (HUB, "the hub")):
        yield flag, f"credit of {comment}", stated(CREDIT | {"venue": venue})
    for delta, comment in (
        ([leg("USD", "5")], "an order"),
        ([usd], "an outflow"),
        ([leg("USD", "0")], "a leg of zero"),
    ):
        yield flag, f"credit on {comment}", stated(CREDIT, delta=delta)
    for limit in ("-0.01", "-10", "-0." + "0" * 29 + "1"):
        yield flag, f"trade with the limit {limit[:8]}", stated(TRADE | {"limit": limit})
    yield flag, "trade with itself", stated(TRADE | {"counterparty": "alice"})
    yield flag, "trade with any, by the account of that name", stated(TRADE, account="any")
    yield flag, "trade of nothing", stated(TRADE, delta=[])
    for zero in ("0", "0.00"):
        yield flag, f"trade with a leg of {zero}", stated(TRADE, delta=[usd, leg("PERP-2", zero)])
    yield "DuplicateInstrument", "trade with one instrument twice", stated(TRADE, delta=[usd, leg("USD", "-1")])
    yield flag, "withdrawal at a venue", stated(OUT, spoke="spoke-1")
    yield flag, "withdrawal of two things", stated(OUT, delta=[usd, leg("SPOT-3", "-1")])
    yield flag, "withdrawal of one thing for another", stated(OUT, delta=[usd, leg("SPOT-3", "1")])
    yield flag, "withdrawal of nothing", stated(OUT, delta=[])
    for quantity, comment in (("5", "that pays in"), ("0", "of zero"), ("0.01", "that pays in a cent")):
        yield flag, f"withdrawal {comment}", stated(OUT, delta=[leg("USD", quantity)])
    for purpose in (CREDIT, TRADE, OUT):
        for quantity in ("1e1", "05", "-0"):
            badly = "NegativeZero" if quantity == "-0" else "BadDecimal"
            yield badly, f"{purpose['for']}, a leg of {quantity}", stated(purpose, delta=[leg("USD", quantity)])


def write(cases: Cases) -> None:
    """All cases."""
    for comment, tree, edge in GOOD:
        cases.valid("statement-digest", {"statement": text(tree)}, comment, *(("EdgeCase",) if edge else ()))
    credit = stated(CREDIT)
    turned = credit | {"purpose": dict(reversed(list(credit["purpose"].items())))}
    spaced = json.dumps(dict(reversed(list(turned.items()))), indent=2)
    cases.valid("statement-digest", {"statement": spaced}, "another order and white space: the digest of the credit")
    old = without(stated(SHOW), "purpose") | {"schema": VERSION_1}
    cases.valid(
        "statement-digest", {"statement": text(old)}, "version 1 stays what it was: it has no purpose, and shows"
    )
    for flag, comment, tree in _faults():
        cases.invalid("statement-digest", {"statement": text(tree)}, flag, MALFORMED, comment)
    _texts(cases)
    _other_members(cases)
    _claimed(cases)


def _texts(cases: Cases) -> None:
    """Faults that no tree has: a member twice, a number with a point."""
    for purpose in PURPOSES:
        whole = text(stated(purpose))
        for name, value in [*purpose.items(), ("purpose", purpose)]:
            member = f'"{name}":{text(value)}'
            twice = whole.replace(member, f"{member},{member}", 1)
            given = {"statement": twice}
            cases.invalid("statement-digest", given, "DuplicateKey", MALFORMED, f"{purpose['for']}: {name} twice")
    escaped = text(stated(SHOW)).replace('"for":"show"', '"for":"show","f\\u006fr":"credit"')
    cases.invalid("statement-digest", {"statement": escaped}, "DuplicateKey", MALFORMED, "the kind twice, once escaped")
    floated = text(stated(CREDIT)).replace(f'"expires":{EXPIRY}', f'"expires":{EXPIRY}.0')
    cases.invalid("statement-digest", {"statement": floated}, "Float", MALFORMED, "an end with a point")
    deep = text(stated(CREDIT)).replace('"venue":"spoke-1"', '"venue":' + "[" * 12 + "1" + "]" * 12)
    cases.invalid("statement-digest", {"statement": deep}, "TooDeep", MALFORMED, "nested 14 deep")


def _other_members(cases: Cases) -> None:
    """Every fault of the other members is one in version 2 too."""
    tree = stated(SHOW)
    changes: list[tuple[str, str, Callable[[Tree], Tree]]] = [
        (flag, comment, change)
        for flag, comment, _, change in statement_faults(tree["commitment"])
        if comment != "version 2"
    ]
    for flag, comment, change in changes:
        cases.invalid("statement-digest", {"statement": text(change(tree))}, flag, MALFORMED, f"version 2, {comment}")


def _claimed(cases: Cases) -> None:
    """Digests of the right document, made in a wrong way."""
    tree = stated(CREDIT)
    data = canonical.canonical_bytes(tree)
    bare = canonical.canonical_bytes(without(tree, "purpose"))
    old = canonical.canonical_bytes(without(tree, "purpose") | {"schema": VERSION_1})
    domain, before = (version.encode() + b"\x00" for version in (VERSION_2, VERSION_1))
    claims = [
        ("WrongDomainSeparation", "the domain of version 1", before + data),
        ("WrongDomainSeparation", "no domain string", data),
        ("WrongDomainSeparation", "no zero byte", domain[:-1] + data),
        ("WrongDigest", "without the purpose", domain + bare),
        ("WrongDigest", "of the statement of version 1 that is the same but for the purpose", before + old),
        ("WrongDigest", "of a credit of another amount", domain + canonical.canonical_bytes(
            changed(tree, "purpose.amount", "6"))),
        ("WrongDigest", "the purpose as text", domain + canonical.canonical_bytes(
            tree | {"purpose": text(tree["purpose"])})),
    ]  # fmt: skip
    given = {"statement": text(tree), "claimed": hashlib.sha256(domain + data).hexdigest()}
    cases.valid("statement-digest", given, "the right digest")
    for flag, comment, hashed in claims:
        given = {"statement": text(tree), "claimed": hashlib.sha256(hashed).hexdigest()}
        cases.invalid("statement-digest", given, flag, "value-mismatch", comment)
