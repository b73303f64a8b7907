"""Commands of whoever verifies: verify and verify-batch, which ask :mod:`zkmargin.verifier.verdict`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zkmargin.circuits.errors import MalformedInput, ZkMarginError
from zkmargin.service.cli.console import emit, reports_errors
from zkmargin.service.cli.options import In, Json, OracleKey, SignedSnapshot, clock, read_snapshot, signature_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from zkmargin.verifier.facts.attestation import Attestation
    from zkmargin.verifier.verdict import Examination, Signed, Verdict
    from zkmargin.verifier.verify import Item


class Engine(StrEnum):
    """Which verifier: the native one, or the reference one (py_ecc and galois; a second or more for each proof)."""

    NATIVE = "native"
    REFERENCE = "reference"


EngineOption = Annotated[Engine, typer.Option(help="reference needs zkmargin[reference], and shares no arithmetic.")]


def _by_reference(item: Item) -> None:
    from zkmargin.verifier import reference

    reference.verify(item.statement, item.snapshot, item.proof, now=item.now)


def _settle(examinations: Sequence[Examination], engine: Engine) -> list[Verdict]:
    """The verdicts by one engine; the native one shares a pairing."""
    from zkmargin.verifier.verdict import settle

    if engine is Engine.NATIVE:
        return settle(examinations)
    return [at.conclude_with(_by_reference) for at in examinations]


def _attestation_of(path: Path, key: Callable[[], Ed25519PublicKey]) -> Callable[[], Signed[Attestation]]:
    """What reads and verifies an attestation."""

    def attested() -> Signed[Attestation]:
        from zkmargin.service.files import read_file
        from zkmargin.verifier.facts.attestation import verify_attestation
        from zkmargin.verifier.verdict import Signed

        return Signed(verify_attestation(read_file(path), key()))

    return attested


@reports_errors
def verify(
    statement: In,
    snapshot: In,
    proof: In,
    attestation: Annotated[Path | None, typer.Option(help="The hub's attestation.")] = None,
    hub_key: Annotated[Path | None, typer.Option(help="The hub's public key (PEM).")] = None,
    signed_snapshot: SignedSnapshot = None,
    oracle_key: OracleKey = None,
    now: Annotated[int | None, typer.Option(help="Unix time to check against; the machine's clock by default.")] = None,
    engine: EngineOption = Engine.NATIVE,
    as_json: Json = False,
) -> None:
    """Verify a proof; with --attestation and --hub-key also that the commitment is the account's.

    That takes the key's word: neither its validity nor the hub's log is looked at. zkmargin log verify does that.
    """
    from zkmargin.circuits.documents.statement import statement_from_bytes
    from zkmargin.service.files import read_file, read_public_key
    from zkmargin.verifier.facts.attestation import load_public_key
    from zkmargin.verifier.proof_document import ProofDocument
    from zkmargin.verifier.verdict import Evidence, Examination, examine

    if (attestation is None) != (hub_key is None):
        raise MalformedInput("--attestation and --hub-key go together", field="attestation")
    snap = read_snapshot(snapshot)
    stated = statement_from_bytes(read_file(statement))
    document = ProofDocument.from_bytes(read_file(proof), stated)
    attested = None
    if attestation is not None and hub_key is not None:
        attested = _attestation_of(attestation, lambda: load_public_key(read_public_key(hub_key)))
    evidence = Evidence(
        stated, snap, document, clock(now), attested, signature_of(snap, signed_snapshot, oracle_key)
    )  # fmt: skip
    verdict = examine(evidence) if engine is Engine.NATIVE else Examination(evidence).conclude_with(_by_reference)
    verdict.require()
    in_force = "checked" if verdict.state("snapshot_signature") == "passed" else "not checked"
    known = verdict.state("attestation") == "passed"
    bound = "checked" if known else "NOT checked: nothing says whose commitment this is"
    emit(
        {
            "statement": stated.digest.hex(),
            "attestation": "checked" if known else "not checked",
            "snapshot": in_force,
            "engine": engine.value,
        },
        as_json=as_json,
        text=lambda: typer.echo(
            f"proof holds for statement {stated.digest.hex()}\nattestation {bound}\nsnapshot signature {in_force}"
            + ("" if engine is Engine.NATIVE else "\nengine reference")
        ),
    )


@reports_errors
def verify_batch(
    snapshot: In,
    directory: Annotated[
        Path,
        typer.Argument(help="Holds NAME.statement.json, NAME.proof.json and, for --hub-key, NAME.attestation.json."),
    ],
    hub_key: Annotated[Path | None, typer.Option(help="The hub's public key (PEM): also check attestations.")] = None,
    now: Annotated[int | None, typer.Option(help="Unix time to check against; the machine's clock by default.")] = None,
    engine: EngineOption = Engine.NATIVE,
    as_json: Json = False,
) -> None:
    """Verify every statement and proof of a directory on one snapshot, as one batch. Exit 6 if any fails."""
    from zkmargin.circuits.documents.statement import statement_from_bytes
    from zkmargin.service.files import read_file, read_public_key
    from zkmargin.verifier.facts.attestation import load_public_key
    from zkmargin.verifier.proof_document import ProofDocument
    from zkmargin.verifier.verdict import PROOF, Evidence, Examination

    snap = read_snapshot(snapshot)
    names = sorted(p.name.removesuffix(".statement.json") for p in directory.glob("*.statement.json"))
    if not names:
        raise MalformedInput("no *.statement.json", field=str(directory))
    at = clock(now)
    key = None if hub_key is None else load_public_key(read_public_key(hub_key))
    found: dict[str, ZkMarginError | None] = {}
    waiting: dict[str, Examination] = {}
    for name in names:
        attested = None if key is None else _attestation_of(directory / f"{name}.attestation.json", lambda: key)
        try:
            stated = statement_from_bytes(read_file(directory / f"{name}.statement.json"))
            document = ProofDocument.from_bytes(read_file(directory / f"{name}.proof.json"), stated)
        except ZkMarginError as err:
            found[name] = err
            continue
        examination = Examination(Evidence(stated, snap, document, at, attested))
        examination.advance(before=PROOF)
        if examination.failed is None:
            waiting[name] = examination
        else:
            found[name] = examination.failed
    verdicts = _settle(list(waiting.values()), engine)
    found |= {name: verdict.failed for name, verdict in zip(waiting, verdicts, strict=True)}
    bad = {name: err for name, err in found.items() if err is not None}

    def text() -> None:
        bound = "NOT checked: nothing says whose commitments these are" if key is None else "checked"
        typer.echo(f"{len(names) - len(bad)} of {len(names)} proofs hold\nattestations {bound}")
        for name, err in sorted(bad.items()):
            typer.echo(f"{name}: {err.code}: {err}")

    results = {
        name: {"ok": True} if err is None else {"ok": False, "error": err.to_json()} for name, err in found.items()
    }
    answer = {"proofs": len(names), "failed": len(bad), "attestation": "not checked" if key is None else "checked"}
    answer["engine"] = engine.value
    emit({**answer, "results": results}, as_json=as_json, text=text, ok=not bad)
    if bad:
        raise typer.Exit(6)
