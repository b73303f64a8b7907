"""European options on a forward, vectorised: F. Black, The pricing of commodity contracts, J. Fin. Econ. 3 (1976).

    call = D (F N(d1) - K N(d2)),  put = D (K N(-d2) - F N(-d1)), d1 = ln(F/K)/s + s/2,  d2 = d1 - s,  s = sigma
    sqrt(T),  D = exp(-r T)

The normal distribution is erfc(-x/sqrt 2)/2 with the C library's erfc, which keeps its digits in both tails. Binary
floats end here: callers round each value once. Last bits may differ between machines; the published matrix counts.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from zkmargin.circuits.errors import MissingExtra

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]


def require_numpy() -> None:
    """``MissingExtra`` with the remedy where numpy is not installed."""
    try:
        import numpy  # noqa: F401 - only to see whether it is there
    except ImportError:
        raise MissingExtra("options need numpy: pip install 'zkmargin[oracle]'", field="config.instruments") from None


def normal_cdf(x: Floats) -> Floats:
    """The standard normal distribution function, elementwise; relative error of some units in the last place."""
    import numpy as np

    erfc = np.frompyfunc(math.erfc, 1, 1)
    return 0.5 * np.asarray(erfc(-x * math.sqrt(0.5)), dtype=np.float64)


def price(forward: Floats, strike: Floats, deviation: Floats, discount: Floats, call: Flags) -> Floats:
    """Value per unit, elementwise over arrays that broadcast; same unit as ``forward`` and ``strike`` (both > 0).

    ``deviation`` is sigma sqrt(T) >= 0; at zero the value is the discounted intrinsic value, which is the limit.
    The result is kept within its no-arbitrage bounds, discounted intrinsic value to D F (call) or D K (put).
    """
    import numpy as np

    forward, strike, deviation, discount, call = np.broadcast_arrays(forward, strike, deviation, discount, call)
    sign = np.where(call, 1.0, -1.0)
    intrinsic = np.maximum(sign * (forward - strike), 0.0)
    spread = np.where(deviation > 0, deviation, 1.0)
    d1 = np.log(forward / strike) / spread + spread / 2
    value = sign * (forward * normal_cdf(sign * d1) - strike * normal_cdf(sign * (d1 - spread)))
    value = np.where(deviation > 0, np.clip(value, intrinsic, np.where(call, forward, strike)), intrinsic)
    return np.asarray(discount * value, dtype=np.float64)


def greeks(
    forward: Floats, strike: Floats, deviation: Floats, discount: Floats, call: Flags
) -> tuple[Floats, Floats, Floats]:
    """Cash delta, gamma and vega per unit, elementwise, in the unit of ``forward``.

    delta = F dV/dF, gamma = F**2 d2V/dF2, and vega = dV/dsigma / sqrt(T) = D F n(d1), which the caller scales by
    sqrt(T); at zero deviation gamma and vega are 0 and delta is that of the intrinsic value. Cash amounts add over
    underlyings.
    """
    import numpy as np

    alive = deviation > 0
    spread = np.where(alive, deviation, 1.0)
    d1 = np.log(forward / strike) / spread + spread / 2
    sign = np.where(call, 1.0, -1.0)
    density = np.exp(-d1 * d1 / 2) / math.sqrt(2 * math.pi)
    inside = (sign * (forward - strike) > 0).astype(np.float64)
    delta = discount * forward * sign * np.where(alive, normal_cdf(sign * d1), inside)
    gamma = np.where(alive, discount * forward * density / spread, 0.0)
    vega = np.where(alive, discount * forward * density, 0.0)
    return delta, gamma, vega
