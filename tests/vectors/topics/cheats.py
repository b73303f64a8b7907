"""Proofs by provers without scruples: a wrong transcript, another SRS, a false witness.

Every one is consistent but for one thing. A verifier that makes the same mistake, or forgets that check, accepts it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256

from tests.support.cheating import Attempt, Lie
from tests.vectors.accounts import ACCOUNTS, Account, opened
from tests.vectors.cases import Cases, text
from tests.vectors.topics.proofs import case, snapshot_ref
from tests.vectors.weak import WeakTranscript, attempt, cheat, known_srs, prove_weakly
from zkmargin.circuits.statement import Statement
from zkmargin.prover.commitment import CommitmentKey, Opening
from zkmargin.verifier.curve import encode_g1
from zkmargin.verifier.field import ONE, ZERO, scalar

NAME, TITLE = "cheats", "Cheating provers: wrong transcripts, another SRS, false witnesses"
REJECTED = "proof-rejected"
PUBLIC = ("protocol", "srs", "parameters", "statement", "system", "constants", "commitment")
MESSAGES = (
    "columns", "multiplicities", "table-helper", "helpers", "accumulator", "quotient", "evaluations",
    "accumulator-next",
)  # fmt: skip
#: A cent more than the account of the edge case can prove.
TOO_MUCH = "999012.19"


def write(cases: Cases) -> None:
    """All cases."""
    _control(cases)
    _transcripts(cases)
    _other_srs(cases)
    for flag, comment, false_witness in FALSE_WITNESSES:
        for lie in Lie:
            stated, made, account = false_witness()
            proof = cheat(made, lie, f"{flag}/{lie.name}")
            given = case(text(stated), snapshot_ref(cases, account), proof)
            cases.invalid("verify", given, flag, REJECTED, f"{comment}; {lie.value}")


def _control(cases: Cases) -> None:
    """The cheating prover with nothing to hide makes a proof that holds, so its refusals are not for its clumsiness."""
    account = ACCOUNTS["cross"]
    made = attempt(account, account.statement())
    for lie in Lie:
        proof = cheat(made, lie, f"control/{lie.name}")
        given = case(text(account.statement_tree()), snapshot_ref(cases, "cross"), proof)
        cases.valid("verify", given, f"control: an honest witness; {lie.value}, by nothing")
    proof = prove_weakly(account, account.statement(), "control")
    given = case(text(account.statement_tree()), snapshot_ref(cases, "cross"), proof)
    cases.valid("verify", given, "control: the right transcript")


def _transcripts(cases: Cases) -> None:
    account = ACCOUNTS["cross-k2"]
    stated = account.statement()

    def refuse(proof: str, flag: str, comment: str) -> None:
        given = case(text(account.statement_tree()), snapshot_ref(cases, "cross-k2"), proof)
        cases.invalid("verify", given, flag, REJECTED, comment)

    for label in (*PUBLIC, *MESSAGES):
        proof = prove_weakly(account, stated, f"drop/{label}", lambda label=label: WeakTranscript(dropped=label))  # type: ignore[misc]
        refuse(proof, "MissingMessage", f"a prover that does not absorb {label}")
    for label in ("beta", "eta", "alpha", "zeta", "nu"):
        proof = prove_weakly(account, stated, f"again/{label}", lambda label=label: WeakTranscript(repeated=label))  # type: ignore[misc]
        refuse(proof, "ReusedChallenge", f"{label} is the challenge before it")
    for protocol in (b"zkmargin/argument/2", b"", b"plonk"):
        proof = prove_weakly(account, stated, f"protocol/{protocol.decode()}", protocol=protocol)
        refuse(proof, "WrongProtocol", f"the protocol string {protocol.decode()!r}")
    refuse(prove_weakly(account, stated, "digest", srs_digest=sha256(b"").digest()), "OtherSrs",
           "the digest of another SRS in the transcript")  # fmt: skip


def _other_srs(cases: Cases) -> None:
    account = ACCOUNTS["cross"]
    srs = known_srs(account.domain)
    key = CommitmentKey(srs, account.domain, srs.powers_g1, srs.lagrange(account.domain))
    for commitment, comment in (
        (account.commitment, "the account's own commitment"),
        (account.opening.commitment(key), "a commitment under it too"),
    ):
        tree = account.statement_tree(commitment=commitment.hex())
        stated = account.statement(commitment=commitment.hex())
        proof = prove_weakly(account, stated, f"srs/{comment}", key=key)
        given = case(text(tree), snapshot_ref(cases, "cross"), proof)
        cases.invalid("verify", given, "OtherSrs", REJECTED, f"a proof under powers of a known tau; {comment}")


Cheat = tuple[dict[str, object], Attempt, str]


def _account() -> Account:
    return ACCOUNTS["cross"]


def slack_of(account: Account, stated: Statement) -> tuple[Attempt, int, int]:
    """The best false witness of an insolvent statement, its most negative variable and the value."""
    made = attempt(account, stated)
    worst = min(range(len(made.values)), key=made.values.__getitem__)
    if made.values[worst] >= 0:
        raise ValueError("the statement is true")
    return made, worst, made.values[worst]


def limb_out_of_range() -> Cheat:
    """The missing slack as one limb outside the table: every row holds, the range does not."""
    account = _account()
    made, variable, value = slack_of(account, account.statement(amount=TOO_MUCH))
    false = made.with_limb(made.limb(variable), scalar(value)).recounted()
    return account.statement_tree(amount=TOO_MUCH), false, "cross"


def negative_slack() -> Cheat:
    """The missing slack left at zero: the range holds, a row does not."""
    account = _account()
    made, _, _ = slack_of(account, account.statement(amount=TOO_MUCH))
    return account.statement_tree(amount=TOO_MUCH), made, "cross"


def wrong_multiplicity() -> Cheat:
    """One count moved from an entry to another."""
    account = _account()
    made = attempt(account, account.statement())
    counts = [made.counts[0] - ONE, made.counts[1] + ONE, *made.counts[2:]]
    return account.statement_tree(), replace(made, counts=counts), "cross"


def hidden_position() -> Cheat:
    """A commitment with a lot in the last row, which no instrument has."""
    account = _account()
    _, opening = opened("cross")
    positions = [*opening.values()[:-1], scalar(1)]
    hidden = Opening(
        account.domain, (*opening.lots, *[0] * (account.domain - len(opening.lots) - 1), 1), opening.blinding
    )
    commitment = encode_g1(hidden.commitment_point()).hex()
    made = attempt(account, account.statement(commitment=commitment))
    return account.statement_tree(commitment=commitment), replace(made, positions=positions), "cross"


def unrelated_words() -> Cheat:
    """Words of a richer account than the committed one."""
    account = _account()
    lots = account.opening.lots
    richer = Opening(account.domain, (lots[0] + 1, *lots[1:]), (ZERO, ZERO))
    made = attempt(account, account.statement(amount=TOO_MUCH), held=richer)
    return account.statement_tree(amount=TOO_MUCH), made, "cross"


FALSE_WITNESSES: tuple[tuple[str, str, Callable[[], Cheat]], ...] = (
    ("LimbOutOfRange", "a cent too much, a limb of -slack", limb_out_of_range),
    ("NegativeSlack", "a cent too much, a slack of 0", negative_slack),
    ("WrongMultiplicity", "a true statement, one count moved", wrong_multiplicity),
    ("HiddenPosition", "a lot in the last row", hidden_position),
    ("UnrelatedWords", "the words of an account with a cent more", unrelated_words),
)
