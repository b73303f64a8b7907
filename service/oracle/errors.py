"""What an oracle refuses."""

from __future__ import annotations

from zkmargin.circuits.errors import ZkMarginError


class OracleRefused(ZkMarginError):
    """Market data that no snapshot may be built from; ``field`` names source and field. The last snapshot stays."""

    code = "oracle-refused"
    exit_code = 10
