"""The reference engine: operations on ``zkmargin.verifier.reference`` (py_ecc, galois) and its own hashing.

What it has no equivalent of is not in the table, and counts as not covered: signatures, opening and proof documents,
the choice of the cheapest domain. Documents, rules and the compiled rows are those of ``circuits``, which both
engines share; digests, encodings, transcript, layout, bound check, curve and pairing are not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from zkmargin.circuits.documents.snapshot import snapshot_from_bytes
from zkmargin.circuits.documents.statement import statement_from_bytes
from zkmargin.circuits.errors import MalformedInput, MissingExtra, SystemTooLarge, ZkMarginError
from zkmargin.circuits.statement import bind
from zkmargin.circuits.strict_json import parse_json
from zkmargin.circuits.units import format_fraction
from zkmargin.service.vectors.engine import Input, LocalEngine, Operation, Refused, check_claim, require
from zkmargin.service.vectors.native import linear_system_of, snapshot_of, statement_of, transcript_steps

Values = Mapping[str, Any]


def op_decode_scalar(given: Input) -> Values:
    """32 big-endian bytes below r."""
    from zkmargin.verifier.reference.curve import decode_scalar

    return {"integer": str(int(decode_scalar(given.hex("bytes"), MalformedInput, "scalar")))}


def op_decode_g1(given: Input) -> Values:
    """A point of this protocol."""
    from zkmargin.verifier.reference.bls import normalize
    from zkmargin.verifier.reference.curve import decode_g1

    x, y = normalize(decode_g1(given.hex("bytes"), MalformedInput, "point"))
    return {"x": int(x).to_bytes(48, "big").hex(), "y": int(y).to_bytes(48, "big").hex()}


def op_root_of_unity(given: Input) -> Values:
    """omega of the domain."""
    from zkmargin.verifier.reference.curve import encode_scalar, root_of_unity
    from zkmargin.verifier.reference.systems import DOMAINS

    require(given.number("domain") in DOMAINS, "no supported domain", "domain")
    return {"omega": encode_scalar(root_of_unity(given.number("domain"))).hex()}


def op_transcript(given: Input) -> Values:
    """Absorb and draw."""
    from zkmargin.verifier.reference.curve import encode_scalar
    from zkmargin.verifier.reference.transcript import Transcript

    t = Transcript()
    drawn: list[str] = []
    for kind, label, data in transcript_steps(given):
        if kind == "absorb":
            t.absorb(label.decode(), data)
        else:
            drawn.append(encode_scalar(t.challenge(label.decode())).hex())
    if given.has("claimed"):
        check_claim(given.items("claimed"), drawn, "challenges")
    return {"challenges": drawn}


def op_challenges(given: Input) -> Values:
    """Every challenge of a proof, by name."""
    from zkmargin.verifier.reference.curve import encode_scalar
    from zkmargin.verifier.reference.proof_encoding import decode
    from zkmargin.verifier.reference.rounds import replay
    from zkmargin.verifier.reference.srs import key
    from zkmargin.verifier.reference.verification import instance_of

    instance = instance_of(statement_of(given), snapshot_of(given))
    found = replay(instance, decode(given.hex("proof"), instance.geometry), key().digest)
    values = {name: encode_scalar(value).hex() for name, value in vars(found).items()}
    if given.has("claimed"):
        check_claim(given.items("claimed"), list(values.values()), "challenges")
    return values


def op_canonical_json(given: Input) -> Values:
    """Strict JSON (the parser is shared) to canonical bytes (the writer is not)."""
    from zkmargin.verifier.reference.digests import canonical as write

    return {"bytes": write(parse_json(given.hex("bytes"))).encode().hex()}


def op_snapshot(given: Input) -> Values:
    """A snapshot's digest and its registry's."""
    from zkmargin.verifier.reference.digests import digest

    snap = snapshot_of(given)
    lines = [[inst.id, inst.kind, format_fraction(inst.lot)] for inst in snap.instruments]
    return {
        "digest": digest(dict(snap.tree), "zkmargin/snapshot/1").hex(),
        "registry": digest(lines, "zkmargin/registry/1").hex(),
    }


def op_statement(given: Input) -> Values:
    """A statement's digest."""
    from zkmargin.verifier.reference.digests import digest

    tree = dict(statement_of(given).tree)
    found = digest(tree, tree["schema"]).hex()
    if given.has("claimed"):
        check_claim(given.text("claimed"), found, "digest")
    return {"digest": found}


def op_linear_system(given: Input) -> Values:
    """Digest and layout of a system written out, on the domain of the input or on the cheapest (choice shared)."""
    from zkmargin.prover.domains import cheapest_layout
    from zkmargin.verifier.reference import systems

    system = linear_system_of(given)
    n = given.optional_number("domain") or cheapest_layout(system).n
    geometry = systems.fit(system, n)
    systems.check_bounds(system, geometry)
    return {"digest": systems.system_digest(system).hex(), "domain": n, "columns": geometry.columns}


def op_compile(given: Input) -> Values:
    """A compiled statement; rows are shared, digest, layout, bound check and right-hand sides are not."""
    from zkmargin.verifier.reference import systems
    from zkmargin.verifier.reference.curve import R
    from zkmargin.verifier.reference.verification import geometry_of

    bound = bind(statement_of(given), snapshot_of(given))
    system = bound.program.system
    geometry = geometry_of(bound)
    right = systems.constants(system, bound.delta, bound.amount)
    return {
        "system": systems.system_digest(system).hex(),
        "rows": len(system.rows),
        "variables": len(system.variables),
        "words": sum(map(len, geometry.words)),
        "domain": geometry.n,
        "columns": geometry.columns,
        "constants": hashlib.sha256(b"".join((c % R).to_bytes(32, "big") for c in right)).hexdigest(),
    }


@lru_cache(maxsize=8)
def _srs_file(name: str) -> bytes:
    from zkmargin.verifier.srs import read_pinned

    return read_pinned(name)


def _srs_point(name: str, index: int) -> Any:
    from zkmargin.verifier.reference.bls import FQ

    data = _srs_file(name)[96 * index : 96 * (index + 1)]
    return FQ(int.from_bytes(data[:48], "big")), FQ(int.from_bytes(data[48:], "big")), FQ(1)


def _compressed(point: Any) -> str:
    # After zkmargin.verifier.reference.bls, which undoes what importing py_ecc does to the process.
    from py_ecc.bls.point_compression import compress_G1

    return int(compress_G1(point)).to_bytes(48, "big").hex()


def op_commit(given: Input) -> Values:
    """sum_j x_j [L_j(tau)] + sum_k b_k ([tau^(n+k)] - [tau^k]), term by term on py_ecc."""
    from zkmargin.verifier.reference.bls import add, multiply, neg
    from zkmargin.verifier.reference.curve import R, combine, decode_scalar
    from zkmargin.verifier.reference.systems import DOMAINS

    n, lots = given.number("domain"), given.integers("lots")
    if n not in DOMAINS:
        raise SystemTooLarge("no supported domain", field="domain")
    blinding = [int(decode_scalar(b, MalformedInput, "blinding")) for b in given.bytes_list("blinding")]
    require(len(lots) <= n and all(abs(x) < 2**63 for x in lots), "too many positions, or too large", "lots")
    terms = [(x % R, _srs_point(f"lagrange_{n}.bin", j)) for j, x in enumerate(lots) if x]
    for k, b in enumerate(blinding):
        low, high = _srs_point("powers_g1.bin", k), _srs_point("powers_g1.bin", n + k)
        terms.append((b, add(high, neg(low))))
    point = combine((1, multiply(p, x)) for x, p in terms)
    commitment = _compressed(point)
    if given.has("claimed"):
        check_claim(given.text("claimed"), commitment, "commitment")
    return {"commitment": commitment}


def op_add_commitments(given: Input) -> Values:
    """The sum of commitments."""
    from zkmargin.verifier.reference.bls import is_inf
    from zkmargin.verifier.reference.curve import combine, decode_g1

    points = [decode_g1(data, MalformedInput, "commitments") for data in given.bytes_list("commitments")]
    total = combine((1, point) for point in points)
    require(bool(points) and not is_inf(total), "nothing, or a neutral sum", "commitments")
    encoded = _compressed(total)
    if given.has("claimed"):
        check_claim(given.text("claimed"), encoded, "sum")
    return {"commitment": encoded}


@lru_cache(maxsize=256)
def _verify(stated: bytes, snap: bytes, proof: bytes, now: int | None) -> ZkMarginError | None:
    """One proof; remembered, since batches repeat proofs and each takes a second."""
    from zkmargin.verifier import reference

    try:
        reference.verify(statement_from_bytes(stated), snapshot_from_bytes(snap), proof, now=now)
    except ZkMarginError as error:
        if error.code in ("missing-extra", "corrupt-data", "internal-error"):
            raise
        return error
    return None


def _verified(given: Input) -> ZkMarginError | None:
    now = given.optional_number("now")
    return _verify(given.data("statement"), given.data("snapshot"), given.hex("proof"), now)


def op_verify(given: Input) -> Values:
    """A whole proof."""
    error = _verified(given)
    if error is not None:
        raise error
    return {}


def op_verify_batch(given: Input) -> Values:
    """Many proofs, one by one: the reference has no batch equation, and must find the same ones bad."""
    found = [_verified(one) for one in given.inputs("items")]
    values = {"results": ["accepted" if error is None else "rejected" for error in found]}
    first = next((error for error in found if error is not None), None)
    if first is not None:
        raise Refused(first, values)
    return values


OPERATIONS: dict[str, Operation] = {
    "decode-scalar": op_decode_scalar,
    "decode-g1": op_decode_g1,
    "root-of-unity": op_root_of_unity,
    "transcript": op_transcript,
    "challenges": op_challenges,
    "canonical-json": op_canonical_json,
    "snapshot-digest": op_snapshot,
    "statement-digest": op_statement,
    "linear-system": op_linear_system,
    "compile": op_compile,
    "commit": op_commit,
    "add-commitments": op_add_commitments,
    "verify": op_verify,
    "verify-batch": op_verify_batch,
}


def engine() -> LocalEngine:
    """The reference engine, or ``MissingExtra`` where py_ecc or galois is not installed."""
    try:
        from zkmargin.service.vectors import curves_reference
    except ModuleNotFoundError as err:
        if (err.name or "").split(".")[0] not in ("galois", "py_ecc", "numpy"):
            raise
        raise MissingExtra("the reference engine needs galois and py_ecc: install zkmargin[reference]") from None
    return LocalEngine("reference", OPERATIONS | curves_reference.OPERATIONS, exact=False)
