"""Transcript and challenges: the right ones, and those of every way to get Fiat-Shamir wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from tests.vectors.accounts import ACCOUNTS
from tests.vectors.cases import Cases
from tests.vectors.seed import Stream
from tests.vectors.topics.proofs import honest
from zkmargin.circuits.system import FIELD_ORDER
from zkmargin.service.vectors.case import Tree
from zkmargin.verifier.transcript import DST, expand_message_xmd

NAME, TITLE = "transcripts", "Expansion, transcript, challenges"
Step = tuple[str, str, bytes]
#: Challenges of a script by a transcript that is wrong in one place.
Faulty = Callable[[list[Step]], list[bytes]]


def scripted(steps: list[Step]) -> list[list[str]]:
    """Steps as a case has them."""
    return [[kind, label, data.hex()] if kind == "absorb" else [kind, label] for kind, label, data in steps]


def framed(label: bytes, data: bytes) -> bytes:
    """The right framing of a message."""
    return bytes([len(label)]) + label + len(data).to_bytes(8, "big") + data


def faulty(
    *,
    frame: Callable[[bytes, bytes], bytes] = framed,
    dst: bytes = DST,
    expanded: int = 48,
    draw_absorbs: bool = True,
    resets: bool = False,
    repeats: bool = False,
    little: bool = False,
) -> Faulty:
    """A transcript with one thing different from the specification."""

    def run(steps: list[Step]) -> list[bytes]:
        state = b""
        out: list[bytes] = []
        for kind, label, data in steps:
            if kind == "absorb":
                state += frame(label.encode(), data)
                continue
            if draw_absorbs:
                state += frame(label.encode(), b"")
            if repeats and out:
                out.append(out[0])
                continue
            seed = hashlib.sha256(state).digest()
            order = "little" if little else "big"
            value = int.from_bytes(expand_message_xmd(seed, dst, expanded), order) % FIELD_ORDER  # type: ignore[arg-type]
            out.append(value.to_bytes(32, "big"))
            if resets:
                state = b""
        return out

    return run


FAULTS: tuple[tuple[str, str, Faulty], ...] = (
    ("MissingLabel", "no label", faulty(frame=lambda label, data: len(data).to_bytes(8, "big") + data)),
    ("MissingLength", "no length of the data", faulty(frame=lambda label, data: bytes([len(label)]) + label + data)),
    ("MissingLength", "no lengths at all", faulty(frame=lambda label, data: label + data)),
    ("LittleEndian", "lengths in little-endian",
     faulty(frame=lambda label, data: bytes([len(label)]) + label + len(data).to_bytes(8, "little") + data)),
    ("MissingLength", "four bytes of length",
     faulty(frame=lambda label, data: bytes([len(label)]) + label + len(data).to_bytes(4, "big") + data)),
    ("WrongOrder", "the data before the label",
     faulty(frame=lambda label, data: len(data).to_bytes(8, "big") + data + bytes([len(label)]) + label)),
    ("WrongDst", "another version in the tag", faulty(dst=DST.replace(b"V01", b"V02"))),
    ("WrongDst", "the tag of RFC 9380's own tests", faulty(dst=b"QUUX-V01-CS02-with-expander-SHA256-128")),
    ("BiasedReduction", "32 bytes modulo r", faulty(expanded=32)),
    ("BiasedReduction", "64 bytes modulo r", faulty(expanded=64)),
    ("LittleEndian", "the expanded bytes read in little-endian", faulty(little=True)),
    ("MissingLabel", "a challenge does not absorb its own label", faulty(draw_absorbs=False)),
    ("ForgottenState", "the state begins anew after a challenge", faulty(resets=True)),
    ("ReusedChallenge", "every later challenge is the first one", faulty(repeats=True)),
)  # fmt: skip


def scripts() -> list[tuple[str, list[Step]]]:
    """Scripts of messages and challenges."""
    draw = Stream("transcript")
    data = draw.bytes()
    return [
        ("two challenges after one message", [
            ("absorb", "protocol", b"zkmargin/argument/1"), ("challenge", "gamma", b""), ("challenge", "beta", b"")]),
        ("messages between challenges", [
            ("absorb", "srs", data[:32]), ("absorb", "columns", data[:48]), ("challenge", "gamma", b""),
            ("absorb", "quotient", data[16:]), ("challenge", "zeta", b""), ("challenge", "nu", b"")]),
    ]  # fmt: skip


def write(cases: Cases) -> None:
    """All cases."""
    for message, dst, length, comment in (
        (b"", DST, 48, "empty message"),
        (b"abc", DST, 48, "the protocol's own tag"),
        (bytes(range(256)), DST, 32, "one block"),
        (b"abc", DST, 33, "one byte of a second block"),
        (b"abc", b"x", 255 * 32, "the longest output"),
        (b"abc", b"t" * 255, 48, "the longest tag that is used as it is"),
        (b"abc", b"t" * 256, 48, "a tag that is hashed first (RFC 9380, section 5.3.3)"),
    ):
        flags = ("EdgeCase",) if length > 1000 or len(dst) >= 255 else ()
        given: Tree = {"message": message.hex(), "dst": dst.hex(), "length": length}
        cases.valid("expand-message-xmd", given, comment, *flags)
    for length in (0, 255 * 32 + 1, 65536):
        given = {"message": b"abc".hex(), "dst": DST.hex(), "length": length}
        cases.invalid("expand-message-xmd", given, "OutOfRange", "malformed-input", f"{length} bytes of output")
    _framing(cases)
    for name, steps in scripts():
        cases.valid("transcript", {"steps": scripted(steps)}, name)
        for flag, comment, fault in FAULTS:
            claimed = [value.hex() for value in fault(steps)]
            given = {"steps": scripted(steps), "claimed": claimed}
            cases.invalid("transcript", given, flag, "value-mismatch", f"{name}; claimed: {comment}")
    for name in ("cross", "cross-k2", "cross-2048", "portfolio"):
        stated, snap, proof = honest(cases, name)
        cases.valid("challenges", {"statement": stated, "snapshot": snap, "proof": proof}, f"all challenges, {name}")
    _claimed(cases)


def _framing(cases: Cases) -> None:
    """Sequences that a transcript without labels or lengths cannot tell apart."""
    groups: list[list[Step]] = [
        [("challenge", "gamma", b"")],
        [("absorb", "ab", b"c"), ("challenge", "end", b"")],
        [("absorb", "a", b"bc"), ("challenge", "end", b"")],
        [("absorb", "a", b"b"), ("absorb", "c", b""), ("challenge", "end", b"")],
        [("absorb", "a", b""), ("challenge", "end", b"")],
        [("absorb", "a", b"\x00"), ("challenge", "end", b"")],
        [("absorb", "c", b"d"), ("absorb", "a", b"b"), ("challenge", "end", b"")],
        [("absorb", "a", b"b"), ("absorb", "c", b"d"), ("challenge", "end", b"")],
        [("absorb", "a", b"x"), ("absorb", "a", b"y"), ("challenge", "end", b"")],
        [("absorb", "a", b"xy"), ("challenge", "end", b"")],
        [("absorb", "a", bytes(300)), ("challenge", "end", b"")],
    ]
    for steps in groups:
        cases.valid(
            "transcript", {"steps": scripted(steps)}, "framing: no other sequence has this challenge", "EdgeCase"
        )


def _claimed(cases: Cases) -> None:
    """Challenges of a whole proof, claimed wrongly."""
    stated, snap, proof = honest(cases, "cross")
    account = ACCOUNTS["cross"]
    right = challenges_of(account.proof(), "cross")
    for shift, comment in ((1, "each in the place of the one before"), (2, "two places on")):
        claimed = right[shift:] + right[:shift]
        given = {"statement": stated, "snapshot": snap, "proof": proof, "claimed": claimed}
        cases.invalid("challenges", given, "WrongOrder", "value-mismatch", f"challenges {comment}")
    for i, name in enumerate(("gamma", "beta", "eta", "alpha", "zeta", "nu", "mu")):
        claimed = [*right[:i], right[i - 1], *right[i + 1 :]]
        given = {"statement": stated, "snapshot": snap, "proof": proof, "claimed": claimed}
        cases.invalid("challenges", given, "ReusedChallenge", "value-mismatch", f"{name} is another challenge again")
    other = challenges_of(account.proof(amount="1"), "cross", amount="1")
    given = {"statement": stated, "snapshot": snap, "proof": proof, "claimed": other}
    cases.invalid("challenges", given, "OtherStatement", "value-mismatch", "challenges of another statement's proof")


def challenges_of(proof: str, name: str, **changes: object) -> list[str]:
    """The challenges of a proof, in order."""
    from zkmargin.circuits.statement import bind
    from zkmargin.verifier.argument.v1.challenges import replay
    from zkmargin.verifier.argument.v1.encoding import decode
    from zkmargin.verifier.field import encode_scalar
    from zkmargin.verifier.srs import ethereum
    from zkmargin.verifier.verify import instance_of

    account = ACCOUNTS[name]
    bound = bind(account.statement(**changes), account.snapshot)
    replayed = replay(instance_of(bound), decode(bytes.fromhex(proof)), ethereum().digest)
    return [encode_scalar(value).hex() for value in vars(replayed).values()]
