"""Provers for the vectors that do one thing wrong, on purpose: their proofs are what a verifier must refuse.

The cheating prover itself is that of the tests (``tests/support/cheating.py``); here the honest rounds get other
transcripts and another SRS. All randomness is the vectors' public seed, and a statement of another hub than the
vectors' is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from py_arkworks_bls12381 import Scalar

from tests.support import cheating
from tests.support.cheating import Attempt, CheatingProver, Lie
from tests.support.toy import ToySrs
from tests.vectors.accounts import Account
from tests.vectors.seed import Stream, guard
from zkmargin.circuits.statement import Statement, bind
from zkmargin.prover.commitment import CommitmentKey, Opening, commitment_key
from zkmargin.prover.prove import prove_instance
from zkmargin.prover.witness import build_witness
from zkmargin.verifier.argument.instance import Instance
from zkmargin.verifier.argument.v1 import challenges
from zkmargin.verifier.argument.v1.encoding import encode
from zkmargin.verifier.curve import encode_g1
from zkmargin.verifier.field import encode_scalar, integer
from zkmargin.verifier.srs import SRS_DIGEST
from zkmargin.verifier.transcript import Transcript
from zkmargin.verifier.verify import instance_of


class WeakTranscript(Transcript):
    """A transcript that leaves messages out, or answers a challenge with an earlier one."""

    def __init__(self, *, dropped: str = "", repeated: str = "") -> None:
        super().__init__()
        self._dropped, self._repeated = dropped.encode(), repeated.encode()
        self._last: Scalar | None = None

    def absorb(self, label: bytes, data: bytes) -> None:
        """Append a message, unless it is the one left out."""
        if label != self._dropped:
            super().absorb(label, data)

    def challenge(self, label: bytes) -> Scalar:
        """The challenge, or the one before it where this label repeats."""
        if label == self._repeated and self._last is not None:
            super().challenge(label)
            return self._last
        self._last = super().challenge(label)
        return self._last


@dataclass(frozen=True)
class WeakInstance(Instance):
    """An instance whose prover uses another transcript, or other public values in it."""

    make: Callable[[], Transcript]
    srs_digest: bytes | None = None
    protocol: bytes = challenges.PROTOCOL

    def transcript(self, protocol: bytes, srs_digest: bytes) -> Transcript:
        """The public messages in the right order, into whatever transcript this instance has."""
        t = self.make()
        t.absorb(b"protocol", self.protocol)
        t.absorb(b"srs", self.srs_digest or srs_digest)
        t.absorb(b"parameters", self.layout.n.to_bytes(4, "big") + self.layout.columns.to_bytes(4, "big"))
        t.absorb(b"statement", self.statement)
        t.absorb(b"system", self.system.digest)
        t.absorb(b"constants", b"".join(map(encode_scalar, self.constants)))
        t.absorb(b"commitment", encode_g1(self.commitment))
        return t


def prove_weakly(
    account: Account,
    stated: Statement,
    label: str,
    make: Callable[[], Transcript] = Transcript,
    *,
    srs_digest: bytes | None = None,
    protocol: bytes = challenges.PROTOCOL,
    key: CommitmentKey | None = None,
    digest: bytes | None = None,
) -> str:
    """An honest witness and rounds, but for the transcript or the commitment key; the proof in hex, never checked.

    ``digest`` is absorbed as the statement's.
    """
    guard(stated)
    bound = bind(stated, account.snapshot)
    plain = replace(instance_of(bound), statement=digest or stated.digest)
    weak = WeakInstance(**vars(plain), make=make, srs_digest=srs_digest, protocol=protocol)
    witness = build_witness(bound, account.snapshot, account.opening.lots)
    chosen = key or commitment_key(stated.domain)
    made = prove_instance(weak, witness, account.opening, chosen, randomness=Stream(f"weak/{label}").scalars)
    return encode(made).hex()


def known_srs(n: int) -> ToySrs:
    """An SRS for domains of n points whose tau everybody knows, under the digest of ours."""
    srs = ToySrs(integer(Stream("tau").scalars(1)[0]), 2 * n + 16)
    srs.digest = SRS_DIGEST
    return srs


def attempt(account: Account, stated: Statement, *, held: Opening | None = None) -> Attempt:
    """What a cheating prover starts from, for a statement of the vectors' hub."""
    guard(stated)
    return cheating.attempt(account, stated, held=held)


def cheat(made: Attempt, lie: Lie, label: str) -> str:
    """The cheating prover's proof in hex, never checked."""
    return CheatingProver(made, lie, randomness=Stream(f"cheat/{label}").scalars).prove().hex()
