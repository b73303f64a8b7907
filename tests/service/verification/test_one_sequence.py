"""The checks of a proof are written once: command line, client and service all ask the one sequence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.support.places import ROOT
from tests.support.services import HUB_KEY, ORACLE_KEY, fresh_snapshot, job, pem, request
from zkmargin.circuits.documents.statement import statement_from_bytes
from zkmargin.circuits.errors import StatementMismatch
from zkmargin.prover.documents import parse_proof
from zkmargin.service.cli.root import app
from zkmargin.service.client.holder import Prices
from zkmargin.service.client.negotiation import Demand, Offer
from zkmargin.service.client.trust import Trust
from zkmargin.service.client.venue import check_proof
from zkmargin.service.http.routes.proofs.schemas import Checks, Failed
from zkmargin.service.keys.signing import sign_document
from zkmargin.service.verification import worker
from zkmargin.service.verification.jobs import GROUPS, ORDER, Answer, BodyJob, Done, Envelope
from zkmargin.verifier import verdict
from zkmargin.verifier.facts.hub_keys import HubKey, KeyChain
from zkmargin.verifier.facts.snapshot_signature import SCHEMA, TOKEN_TYPE, SnapshotSignature

PLANTED = "planted"


def signature() -> SnapshotSignature:
    snap = fresh_snapshot()
    return SnapshotSignature("oracle-1", snap.digest, snap.time, snap.time + 3000)


def files(folder: Path) -> dict[str, str]:
    """The documents of one proof as files, named for both commands."""
    tree = request()
    contents = {name: json.dumps(tree[name]) for name in ("statement", "proof", "attestation", "snapshot")}
    signed = sign_document(signature().payload(), ORACLE_KEY, schema=SCHEMA, token_type=TOKEN_TYPE).decode()
    contents |= {"signed": signed, "hub": pem(HUB_KEY), "oracle": pem(ORACLE_KEY)}
    paths = {name: folder / (f"one.{name}.json" if name in tree else name) for name in contents}
    for name, text in contents.items():
        paths[name].write_text(text)
    return {name: str(path) for name, path in paths.items()}


def by_command(folder: Path) -> bool:
    f = files(folder)
    given = ["--statement", f["statement"], "--snapshot", f["snapshot"], "--proof", f["proof"]]
    given += ["--attestation", f["attestation"], "--hub-key", f["hub"]]
    given += ["--signed-snapshot", f["signed"], "--oracle-key", f["oracle"]]
    result = CliRunner().invoke(app, ["verify", *given])
    assert (result.exit_code, PLANTED in result.output) in {(0, False), (4, True)}, result.output
    return result.exit_code == 0


def by_batch_command(folder: Path) -> bool:
    f = files(folder)
    result = CliRunner().invoke(app, ["verify-batch", "--snapshot", f["snapshot"], str(folder), "--hub-key", f["hub"]])
    assert (result.exit_code, PLANTED in result.output) in {(0, False), (6, True)}, result.output
    return result.exit_code == 0


def by_venue(folder: Path) -> bool:
    """Whether the venue goes on to ask for the attestation's place in the log."""
    tree, snap = request(), fresh_snapshot()
    statement = statement_from_bytes(json.dumps(tree["statement"]).encode())
    proof = parse_proof(json.dumps(tree["proof"]).encode(), statement)
    first = HubKey("hub-1", HUB_KEY.public_key().public_bytes_raw(), snap.time - 10, snap.time + 10**6, b"")
    trust = Trust("hub-1", first.key, chain=KeyChain((first,)), clock=lambda: snap.time)
    context = statement.context
    demand = Demand(context.venue, statement.amount, nonce=context.nonce, multiplier="0.1", min_horizon=1)
    offer = Offer(statement, proof, json.dumps(tree["attestation"]).encode(), 0)
    flow = check_proof(trust, demand, offer, Prices(snap, signature(), b"", b""))
    try:
        asked = next(flow)
    except StatementMismatch as err:
        assert err.message == PLANTED  # noqa: PT017 - nothing else may refuse
        return False
    return asked.path.startswith("/v1/log/inclusion")


def by_service(folder: Path) -> bool:
    return answered(Envelope(job(request())))


def by_service_batch(folder: Path) -> bool:
    tree = request()
    item = {name: tree[name] for name in ("statement", "proof", "attestation")}
    body = {"items": [item, item], "snapshots": [tree["snapshot"]], "hub_key": tree["hub_key"]}
    return answered(Envelope(BodyJob(json.dumps(body).encode(), many=True), heavy=True))


def answered(envelope: Envelope) -> bool:
    (done,) = worker.Worker().run([envelope])
    assert isinstance(done, Done)
    (valid,) = {answer.valid for answer in done.results if isinstance(answer, Answer)}
    return valid


USERS = (by_command, by_batch_command, by_venue, by_service, by_service_batch)


@pytest.mark.parametrize("user", USERS)
def test_a_failing_check_is_seen_by_every_user(
    user: Callable[[Path], bool], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each check in turn fails for a proof that is good: whoever kept a sequence of its own would accept it."""
    assert user(tmp_path)  # the control

    def planted(at: verdict.Examination) -> bool:
        raise StatementMismatch(PLANTED, field="planted")

    for name in verdict.CHECKS:
        with monkeypatch.context() as patch:
            patch.setattr(verdict, "CHECKS", {**verdict.CHECKS, name: planted})
            assert not user(tmp_path), name
    with monkeypatch.context() as patch:
        patch.setattr(verdict.Examination, "pair", lambda at, error: at._fail(StatementMismatch(PLANTED)))
        assert not user(tmp_path)
    assert user(tmp_path)


def test_the_services_answer_has_the_groups_of_its_documented_form() -> None:
    assert tuple(GROUPS) == tuple(Checks.model_fields)
    assert set(GROUPS) == set(Failed.model_fields["check"].annotation.__args__)  # type: ignore[union-attr]
    assert sorted(ORDER) == sorted(verdict.ORDER)


def test_the_specification_has_the_services_order() -> None:
    text = (ROOT / "docs/SPEC.md").read_text().split("groups the same checks")[1].split("\n\n")[0]
    named = [name for name in text.replace("`", " ` ").split() if name.strip(";,.") in verdict.ORDER]
    assert tuple(named) == ORDER
