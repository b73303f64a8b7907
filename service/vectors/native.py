"""The native engine: every operation on this project's own verifier (arkworks and FLINT)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from zkmargin.circuits import canonical
from zkmargin.circuits.documents.snapshot import snapshot_from_bytes
from zkmargin.circuits.documents.statement import statement_from_bytes
from zkmargin.circuits.errors import MalformedInput
from zkmargin.circuits.layout import fit
from zkmargin.circuits.statement import bind
from zkmargin.circuits.strict_json import parse_json
from zkmargin.circuits.system import LinearSystem, Row, Variable
from zkmargin.prover.commitment import Opening
from zkmargin.prover.documents import parse_opening, parse_proof
from zkmargin.prover.domains import cheapest_domain, cheapest_layout
from zkmargin.service.vectors import curves_native, signatures
from zkmargin.service.vectors.engine import (
    Input,
    LocalEngine,
    Operation,
    Refused,
    UnusableInput,
    check_claim,
    require,
    unhex,
)
from zkmargin.service.vectors.engine import integer as case_integer
from zkmargin.verifier.argument.v1.challenges import replay
from zkmargin.verifier.argument.v1.encoding import decode
from zkmargin.verifier.batch import verify_batch
from zkmargin.verifier.curve import decode_g1, encode_g1
from zkmargin.verifier.field import decode_scalar, domain, encode_scalar, integer, scalars
from zkmargin.verifier.srs import ethereum
from zkmargin.verifier.transcript import Transcript, expand_message_xmd
from zkmargin.verifier.verdict import verify_account
from zkmargin.verifier.verify import Item, instance_of, verify

if TYPE_CHECKING:
    from zkmargin.circuits.snapshot import Snapshot
    from zkmargin.circuits.statement import Statement

Values = Mapping[str, Any]


def statement_of(given: Input) -> Statement:
    """The statement document of an input."""
    return statement_from_bytes(given.data("statement"))


def snapshot_of(given: Input) -> Snapshot:
    """The snapshot document of an input."""
    return snapshot_from_bytes(given.data("snapshot"))


def op_decode_scalar(given: Input) -> Values:
    """32 big-endian bytes below r."""
    return {"integer": str(integer(decode_scalar(given.hex("bytes"), field="scalar")))}


def op_decode_g1(given: Input) -> Values:
    """A point of this protocol: compressed, canonical, in the subgroup, not neutral."""
    xy = bytes(decode_g1(given.hex("bytes"), field="point").to_xy_bytes_be())
    return {"x": xy[:48].hex(), "y": xy[48:].hex()}


def op_root_of_unity(given: Input) -> Values:
    """The generator omega of the domain of n rows."""
    fit([], 0, given.number("domain"))
    return {"omega": encode_scalar(domain(given.number("domain"))[1]).hex()}


def op_expand_message(given: Input) -> Values:
    """RFC 9380 ``expand_message_xmd`` with SHA-256; a DST of more than 255 bytes is hashed first (section 5.3.3)."""
    dst = given.hex("dst")
    short = dst if len(dst) <= 255 else hashlib.sha256(b"H2C-OVERSIZE-DST-" + dst).digest()
    length = given.number("length")
    require(0 < length <= 255 * 32, "more output than 255 blocks", "length")
    return {"bytes": expand_message_xmd(given.hex("message"), short, length).hex()}


def transcript_steps(given: Input) -> list[tuple[str, bytes, bytes]]:
    """["absorb", label, hex] and ["challenge", label] of an input."""
    out: list[tuple[str, bytes, bytes]] = []
    for step in given.items("steps"):
        if not isinstance(step, list) or not 2 <= len(step) <= 3 or not all(isinstance(part, str) for part in step):
            raise UnusableInput("input.steps")
        out.append((step[0], step[1].encode(), unhex(step[2], "steps") if len(step) == 3 else b""))
    return out


def op_transcript(given: Input) -> Values:
    """Absorb and draw; with ``claimed``, the challenges must be these."""
    t = Transcript()
    drawn: list[str] = []
    for kind, label, data in transcript_steps(given):
        if kind == "absorb":
            t.absorb(label, data)
        else:
            drawn.append(encode_scalar(t.challenge(label)).hex())
    if given.has("claimed"):
        check_claim(given.items("claimed"), drawn, "challenges")
    return {"challenges": drawn}


def op_challenges(given: Input) -> Values:
    """Every challenge of a proof, by name; with ``claimed``, they must be these. The proof itself is not checked."""
    bound = bind(statement_of(given), snapshot_of(given))
    proof = decode(given.hex("proof"), bound.layout)
    c = replay(instance_of(bound), proof, ethereum().digest)
    values = {name: encode_scalar(value).hex() for name, value in vars(c).items()}
    if given.has("claimed"):
        check_claim(given.items("claimed"), list(values.values()), "challenges")
    return values


def op_canonical_json(given: Input) -> Values:
    """Strict JSON to RFC 8785 bytes."""
    return {"bytes": canonical.canonical_bytes(parse_json(given.hex("bytes"))).hex()}


def op_snapshot(given: Input) -> Values:
    """A snapshot's digest and its registry's."""
    snap = snapshot_of(given)
    return {"digest": snap.digest.hex(), "registry": snap.registry_digest.hex()}


def op_statement(given: Input) -> Values:
    """A statement's digest; with ``claimed``, it must be this one."""
    digest = statement_of(given).digest.hex()
    if given.has("claimed"):
        check_claim(given.text("claimed"), digest, "digest")
    return {"digest": digest}


def linear_system_of(given: Input) -> LinearSystem:
    """A system written out in an input."""

    def entries(tree: object) -> dict[int, int]:
        if not isinstance(tree, dict):
            raise UnusableInput("input.rows")
        return {case_integer(k, "rows"): case_integer(v, "rows") for k, v in tree.items()}

    rows = tuple(
        Row(
            f"rows.{i}", entries(row.get("positions")), entries(row.get("variables")),
            case_integer(row.get("constant"), "rows"), case_integer(row.get("amount_factor"), "rows"),
        )
        for i, row in enumerate(given.items("rows"))
    )  # fmt: skip
    limits = given.integers("limits")
    variables = tuple(Variable(f"v{k}", limit) for k, limit in enumerate(limits))
    return LinearSystem(given.number("positions"), variables, rows)


def op_linear_system(given: Input) -> Values:
    """Digest and layout of a system written out; without ``domain`` the cheapest layout."""
    system = linear_system_of(given)
    n = given.optional_number("domain")
    layout = cheapest_layout(system) if n is None else system.layout(n)
    return {"digest": system.digest.hex(), "domain": layout.n, "columns": layout.columns}


def op_compile(given: Input) -> Values:
    """A statement on a snapshot, compiled: digest and shape of the system, layout, digest of the right-hand sides."""
    bound = bind(statement_of(given), snapshot_of(given))
    system = bound.program.system
    constants = b"".join(map(encode_scalar, scalars(bound.constants)))
    return {
        "system": system.digest.hex(),
        "rows": len(system.rows),
        "variables": len(system.variables),
        "words": sum(bound.layout.words_of(limit) for limit in system.limits),
        "domain": bound.layout.n,
        "columns": bound.layout.columns,
        "constants": hashlib.sha256(constants).hexdigest(),
    }


def op_cheapest_domain(given: Input) -> Values:
    """The domain on which a hub commits."""
    return {"domain": cheapest_domain(snapshot_of(given))}


def opening_of(given: Input) -> Opening:
    """Lots and blinding of an input."""
    fit([], 0, given.number("domain"))
    blinding = tuple(decode_scalar(b, field=f"blinding.{i}") for i, b in enumerate(given.bytes_list("blinding")))
    return Opening(given.number("domain"), tuple(given.integers("lots")), blinding)


def op_commit(given: Input) -> Values:
    """The commitment to lots with blinding; with ``claimed``, it must be this one."""
    commitment = opening_of(given).commitment().hex()
    if given.has("claimed"):
        check_claim(given.text("claimed"), commitment, "commitment")
    return {"commitment": commitment}


def op_add_commitments(given: Input) -> Values:
    """The sum of commitments, which commits to the sum of the positions; with ``claimed``, it must be this one."""
    points = [decode_g1(data, field=f"commitments.{i}") for i, data in enumerate(given.bytes_list("commitments"))]
    if not points:
        raise MalformedInput("nothing to add", field="commitments")
    total = points[0]
    for point in points[1:]:
        total = total + point
    encoded = encode_g1(total)
    decode_g1(encoded, field="sum")
    if given.has("claimed"):
        check_claim(given.text("claimed"), encoded.hex(), "sum")
    return {"commitment": encoded.hex()}


def op_opening(given: Input) -> Values:
    """An opening document against a snapshot's registry and the commitment it names."""
    return {"commitment": parse_opening(given.data("opening"), snapshot_of(given)).commitment().hex()}


def op_proof_document(given: Input) -> Values:
    """The bytes of a proof document that is about this statement."""
    return {"proof": parse_proof(given.data("document"), statement_of(given)).hex()}


def op_verify(given: Input) -> Values:
    """A whole proof."""
    verify(statement_of(given), snapshot_of(given), given.hex("proof"), now=given.optional_number("now"))
    return {}


def op_verify_batch(given: Input) -> Values:
    """Many proofs at once: which hold."""
    items = [
        Item(statement_of(one), snapshot_of(one), one.hex("proof"), one.optional_number("now"))
        for one in given.inputs("items")
    ]
    found = verify_batch(items)
    values = {"results": ["accepted" if error is None else "rejected" for error in found]}
    first = next((error for error in found if error is not None), None)
    if first is not None:
        raise Refused(first, values)
    return values


def op_verify_account(given: Input) -> Values:
    """What a venue wants: proof and attestation together."""
    snap = snapshot_of(given)
    fact = signatures.attestation_of(given)
    verify_account(statement_of(given), snap, given.hex("proof"), fact, now=given.number("now"))
    return {}


OPERATIONS: dict[str, Operation] = {
    "decode-scalar": op_decode_scalar,
    "decode-g1": op_decode_g1,
    "root-of-unity": op_root_of_unity,
    "expand-message-xmd": op_expand_message,
    "transcript": op_transcript,
    "challenges": op_challenges,
    "canonical-json": op_canonical_json,
    "snapshot-digest": op_snapshot,
    "statement-digest": op_statement,
    "linear-system": op_linear_system,
    "compile": op_compile,
    "cheapest-domain": op_cheapest_domain,
    "commit": op_commit,
    "add-commitments": op_add_commitments,
    "opening": op_opening,
    "proof-document": op_proof_document,
    "verify": op_verify,
    "verify-batch": op_verify_batch,
    "verify-account": op_verify_account,
    **signatures.OPERATIONS,
    **curves_native.OPERATIONS,
}


def engine() -> LocalEngine:
    """The native engine."""
    return LocalEngine("native", OPERATIONS, exact=True)
