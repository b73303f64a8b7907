"""The reference verifier: docs/SPEC.md, section by section, on ``py_ecc`` (curve, pairing) and ``galois`` (field).

It exists to disagree with :mod:`zkmargin.verifier.verify` wherever one of the two reads the specification wrongly. So
it shares no arithmetic, transcript or encoding with it; what it shares is :mod:`circuits` (documents, rules, the
compiled system as plain integers) and its typed errors. It is written to be read beside SPEC.md, not to be fast: it
evaluates every public polynomial from its n values on H, where the native verifier uses closed forms.

==================  ==================================================================
module              sections of SPEC.md
==================  ==================================================================
``bls``, ``curve``  Curve, points and scalars
``srs``             Structured reference string
``systems``         Words and columns; The bound check; Encoding of a system
``digests``         Canonical JSON and digests
``transcript``      Transcript
``proof_encoding``  Proof encoding
``rounds``          Rounds; the order of messages in Transcript
``linearisation``   The linearisation; The two openings
``verification``    Verification
==================  ==================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zkmargin.circuits.errors import MissingExtra

if TYPE_CHECKING:
    from zkmargin.circuits.snapshot import Snapshot
    from zkmargin.circuits.statement import Statement


def verify(statement: Statement, snapshot: Snapshot, proof: bytes, *, now: int | None = None) -> None:
    """Verify that ``proof`` proves ``statement`` on ``snapshot``. Returns nothing; raises a ``ZkMarginError``.

    The same errors as :func:`zkmargin.verifier.verify.verify`, and ``MissingExtra`` where py_ecc or galois is not
    installed. ``now`` is Unix seconds, or None to leave times unchecked.
    """
    try:
        from zkmargin.verifier.reference.verification import verify as run
    except ModuleNotFoundError as err:
        if (err.name or "").split(".")[0] not in ("galois", "py_ecc", "numpy"):
            raise
        raise MissingExtra("the reference verifier needs galois and py_ecc: install zkmargin[reference]") from None
    run(statement, snapshot, proof, now=now)
