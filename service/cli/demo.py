"""The demo: hub, holder and two venues in one process, on real figures, with everything public written out on request.

The clock is the snapshot's, so that real prices of a past day are fresh. Secrets stay in memory.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from zkmargin.circuits.documents.snapshot import snapshot_from_bytes
from zkmargin.circuits.documents.statement import statement_from_bytes, to_tree
from zkmargin.circuits.errors import InternalError, MalformedInput, ZkMarginError
from zkmargin.circuits.purpose import SHOW, ForCredit, Purpose
from zkmargin.circuits.rules import Terms
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.circuits.statement import Statement
from zkmargin.circuits.units import to_lots
from zkmargin.prover.commitment import Opening, commit
from zkmargin.prover.documents import make_statement, portfolio_lots, proof_bytes
from zkmargin.prover.domains import cheapest_domain
from zkmargin.prover.explain import explain
from zkmargin.prover.prove import prove
from zkmargin.service import demo_data
from zkmargin.service.keys import signing, signing_keys
from zkmargin.verifier.facts.attestation import Attestation, check_attested, verify_attestation
from zkmargin.verifier.facts.authorisation import Authorisation, check_authorises, verify_authorisation
from zkmargin.verifier.srs import ethereum
from zkmargin.verifier.verdict import verify_account
from zkmargin.verifier.verify import verify

STEPS = ("data", "commit", "explain", "spoke-a", "spoke-b", "attacks")
ACCOUNT, HUB = "acct-1", "hub-1"
FIRST_AMOUNT, SECOND_AMOUNT, TOO_MUCH = "500000", "250000", "5000000"
#: Buy 100 ETH at the mark of 2373.2: both legs, or the order would be a gift.
ORDER = (("ETH-PERP", "100"), ("USDC", "-237320"))


@dataclass(frozen=True)
class _Epoch:
    opening: Opening
    document: bytes
    attestation: Attestation


class _Hub:
    """The hub's part of the demo: it knows the portfolio, signs epochs, books credits as entries of the position
    vector.
    """

    def __init__(self, snap: Snapshot) -> None:
        self.snap, self.key, self.domain = snap, signing_keys.generate_key(), cheapest_domain(snap)

    def attest(self, lots: list[int], epoch: int, now: int) -> tuple[_Epoch, float]:
        begin = time.perf_counter()
        commitment, opening = commit(lots, self.domain)
        seconds = time.perf_counter() - begin
        fact = Attestation(HUB, ACCOUNT, epoch, commitment, self.domain, self.snap.registry_digest, now)
        document = signing.sign_attestation(fact, self.key)
        return _Epoch(opening, document, verify_attestation(document, self.key.public_key())), seconds


def _refused(attack: Callable[[], object]) -> ZkMarginError:
    """Run something that must fail with a typed error."""
    try:
        attack()
    except ZkMarginError as err:
        return err
    raise InternalError("an attack of the demo succeeded")


def run(out: Path | None, progress: Callable[[str], None]) -> dict[str, Any]:
    """Play the demo; returns what happened as a JSON tree without any position. Writes public files below ``out``."""
    progress("data")
    snap = snapshot_from_bytes(demo_data.read("snapshot.json"))
    lots = portfolio_lots(demo_data.read("portfolio.json"), snap)
    now = snap.time + 60
    ethereum().lagrange(cheapest_domain(snap))  # load data files before any clock starts
    house = _Hub(snap)
    public = house.key.public_key()
    progress("commit")
    house.attest(lots, 0, now)  # warm up
    first, commit_seconds = house.attest(lots, 1, now)
    progress("explain")
    health = explain(snap, Terms("initial", Fraction(1), 3600), lots)

    holder = signing_keys.generate_key()

    def venue(
        epoch: _Epoch, name: str, amount: str, delta: tuple[tuple[str, str], ...] = (), purpose: Purpose = SHOW
    ) -> tuple[Statement, bytes, dict[str, Any]]:
        stated = make_statement(
            snap, epoch.attestation, venue=name, amount=amount, expiry=now + 600, delta=delta, purpose=purpose
        )
        begin = time.perf_counter()
        proof = prove(stated, snap, epoch.opening)
        middle = time.perf_counter()
        verify_account(stated, snap, proof, verify_attestation(epoch.document, public), now=now)
        end = time.perf_counter()
        facts = {
            "spoke": name, "amount": amount, "delta": [list(d) for d in delta], "epoch": epoch.attestation.epoch,
            "prove_ms": round((middle - begin) * 1e3, 1), "verify_ms": round((end - middle) * 1e3, 1),
            "proof_bytes": len(proof), "statement": stated.digest.hex(),
        }  # fmt: skip
        return stated, proof, facts

    progress("spoke-a")
    venue(first, "warm-up", FIRST_AMOUNT)
    wanted = ForCredit("spoke-a", FIRST_AMOUNT, now + 3600)
    stated_a, proof_a, facts_a = venue(first, "spoke-a", FIRST_AMOUNT, purpose=wanted)
    # The holder's key signs what the statement is for; without that the hub books nothing.
    signed = signing.sign_authorisation(Authorisation(HUB, ACCOUNT, stated_a.digest, now), holder)
    check_authorises(verify_authorisation(signed, holder.public_key()), stated_a, now=now)
    # Venue A's credit becomes an entry of the committed vector, under a new epoch with fresh blinding.
    booked = list(lots)
    row = snap.row_of("CREDIT", field="demo")
    booked[row] += to_lots(FIRST_AMOUNT, snap.instruments[row].lot, field="demo")
    second, _ = house.attest(booked, 2, now)
    progress("spoke-b")
    stated_b, proof_b, facts_b = venue(second, "spoke-b", SECOND_AMOUNT, ORDER)
    progress("attacks")
    elsewhere = make_statement(snap, first.attestation, venue="spoke-b", amount=FIRST_AMOUNT, expiry=now + 600)
    renamed = dict(stated_b.tree) | {"purpose": to_tree(ForCredit("spoke-b", SECOND_AMOUNT, now + 3600)), "delta": []}
    taken = statement_from_bytes(json.dumps(renamed).encode())
    flipped = proof_a[:-1] + bytes([proof_a[-1] ^ 1])
    greedy = make_statement(snap, second.attestation, venue="spoke-b", amount=TOO_MUCH, expiry=now + 600)
    attacks: list[tuple[str, Callable[[], object]]] = [
        ("venue A's proof shown to venue B", lambda: verify(elsewhere, snap, proof_a, now=now)),
        ("a proof that shows solvency taken for a credit", lambda: verify(taken, snap, proof_b, now=now)),
        ("a credit signed by another's key", lambda: verify_authorisation(signed, public)),
        ("one bit of a proof flipped", lambda: verify(stated_a, snap, flipped, now=now)),
        (
            "old epoch after the credit was booked",
            lambda: check_attested(stated_a, snap, second.attestation, now=now),
        ),
        (f"{TOO_MUCH} asked for, more than the equity", lambda: prove(greedy, snap, second.opening)),
    ]
    refusals = [{"attack": name, "refused": _refused(attack).code} for name, attack in attacks]
    report = {
        "snapshot": snap.digest.hex(),
        "source": snap.source,
        "instruments": len(snap.instruments),
        "scenarios": len(snap.scenarios),
        "commitment": first.attestation.commitment.hex(),
        "commit_ms": round(commit_seconds * 1e3, 2),
        "holder_only": {
            "positions": len(health.positions),
            "health_factor": health.to_json()["health_factor"],
            "worst_scenario": health.worst_scenario,
        },
        "spokes": [facts_a, facts_b],
        "attacks": refusals,
    }
    if out is not None:
        consent = {"a.authorisation.json": signed, "holder.pub": signing_keys.public_pem(holder)}
        _write(out, snap, house, {"a": (stated_a, proof_a, first), "b": (stated_b, proof_b, second)}, consent)
        report["files"] = str(out)
    return report


def _write(
    out: Path, snap: Snapshot, house: _Hub, parts: dict[str, tuple[Statement, bytes, _Epoch]], consent: dict[str, bytes]
) -> None:
    from zkmargin.service.files import public, write_files

    _make_directory(out)
    files = {"snapshot.json": snap.to_bytes(), "hub.pub": signing_keys.public_pem(house.key)} | consent
    for name, (stated, proof, epoch) in parts.items():
        files[f"{name}.statement.json"] = stated.to_bytes()
        files[f"{name}.proof.json"] = proof_bytes(stated, proof)
        files[f"{name}.attestation.json"] = epoch.document
    write_files(*(public(out / name, data) for name, data in files.items()))


def write_examples(out: Path, now: int) -> Snapshot:
    """Write ``portfolio.json`` and ``snapshot.json``, the demo's prices dated ``now`` (Unix seconds), below ``out``.

    Both are published figures, so both are in clear. Called again it dates the snapshot again. ``MalformedInput`` for
    a file of another content under either name, which is left as it is.
    """
    from zkmargin.service.files import public, write_files

    document = demo_data.snapshot_at(now)
    wanted = {"portfolio.json": demo_data.read("portfolio.json"), "snapshot.json": document.to_bytes()}
    for name, data in wanted.items():
        if (out / name).exists() and not _is_example(out / name, data):
            raise MalformedInput("exists and is not the demo's; nothing was written", field=str(out / name))
    _make_directory(out)
    write_files(*(public(out / name, data) for name, data in wanted.items()))
    return document


def _is_example(path: Path, data: bytes) -> bool:
    """Whether a file is what :func:`write_examples` wrote, at whatever time."""
    from zkmargin.service.files import read_file

    try:
        held, wanted = json.loads(read_file(path)), json.loads(data)
    except (ValueError, MalformedInput):
        return False
    return isinstance(held, dict) and held | {"time": 0} == wanted | {"time": 0}


def _make_directory(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise MalformedInput(err.strerror or "cannot be made", field=str(out)) from None


def show(report: dict[str, Any]) -> None:
    """Print the report for a person."""
    import textwrap

    from typer import echo

    from zkmargin.service.cli.console import table

    echo(
        f"snapshot    {report['snapshot'][:16]}…  {report['instruments']} instruments x {report['scenarios']} scenarios"
    )
    echo(
        textwrap.indent(textwrap.fill(report["source"], 100), "            ").replace("            ", "figures     ", 1)
    )
    echo(f"hub         commits the portfolio in {report['commit_ms']} ms: {report['commitment'][:32]}…")
    own = report["holder_only"]
    echo(
        f"holder      sees {own['positions']} positions, health factor {own['health_factor']},"
        f" worst in scenario {own['worst_scenario']}"
    )
    rows = [
        [
            s["spoke"], s["amount"], ", ".join(f"{q} {i}" for i, q in s["delta"]) or "-", str(s["epoch"]),
            f"{s['prove_ms']} ms", f"{s['verify_ms']} ms", f"{s['proof_bytes']} B",
        ]
        for s in report["spokes"]
    ]  # fmt: skip
    table(
        "two venues extend virtual margin and see no position",
        ["venue", "amount", "after order", "epoch", "prove", "verify", "proof"],
        rows,
    )
    for attack in report["attacks"]:
        echo(f"refused     {attack['attack']}: {attack['refused']}")
    if "files" in report:
        echo(f"files       {report['files']}")
