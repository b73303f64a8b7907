"""The client library of a hub, for holders, venues and operators: typed, sync and async, checking all that it is told.

What to do is a flow, a generator; ``HubClient.run`` and ``await AsyncHubClient.run`` perform it:

    with HubClient(url, signer=RequestSigner(key, "hub-1")) as hub:
        trust = hub.run(meet(pinned_key))
        prices = hub.run(fetch_prices([oracle_key]))
        credit = hub.run(request_credit(trust, demand, offer, prices, expires=expires))

Every failure is a ``ZkMarginError``: the hub's own refusals are ``HubProblem``, a hub that shows two histories is
``LogForked``, and so on; each says what to do next.
"""

from zkmargin.service.client.holder import (
    Attested,
    Holding,
    Prices,
    fetch_account,
    fetch_attestation,
    fetch_holding,
    fetch_prices,
    recommit,
    set_grant,
    withdraw,
    withdrawal_statement,
)
from zkmargin.service.client.negotiation import Demand, Offer, answer, authorise, offer_for, statement_for
from zkmargin.service.client.operator import (
    add_key,
    deposit,
    fetch_breakers,
    fetch_venues,
    open_account,
    publish_snapshot,
    register_venue,
    retire_key,
    revoke_key,
    set_account,
    set_breaker,
    set_venue,
    set_venue_cap,
    set_zone,
)
from zkmargin.service.client.policy import CreditRule, NotCovered, Policy, ShowRule, TradeRule, WithdrawalRule
from zkmargin.service.client.trade import Trade, book_trade, trade_demands
from zkmargin.service.client.transport import (
    AsyncHubClient,
    Flow,
    HubClient,
    HubProblem,
    HubUnreachable,
    RequestSigner,
    Retry,
    new_idempotency_key,
)
from zkmargin.service.client.trust import Trust, fetch_head, follow_keys, load_trust, meet, pin, save_trust
from zkmargin.service.client.venue import (
    Credit,
    check_offer,
    consume,
    expire,
    fetch_credit,
    fetch_credits,
    release,
    request_credit,
)

__all__ = [
    "AsyncHubClient",
    "Attested",
    "Credit",
    "CreditRule",
    "Demand",
    "Flow",
    "Holding",
    "HubClient",
    "HubProblem",
    "HubUnreachable",
    "NotCovered",
    "Offer",
    "Policy",
    "Prices",
    "RequestSigner",
    "Retry",
    "ShowRule",
    "Trade",
    "TradeRule",
    "Trust",
    "WithdrawalRule",
    "add_key",
    "answer",
    "authorise",
    "book_trade",
    "check_offer",
    "consume",
    "deposit",
    "expire",
    "fetch_account",
    "fetch_attestation",
    "fetch_breakers",
    "fetch_credit",
    "fetch_credits",
    "fetch_head",
    "fetch_holding",
    "fetch_prices",
    "fetch_venues",
    "follow_keys",
    "load_trust",
    "meet",
    "new_idempotency_key",
    "offer_for",
    "open_account",
    "pin",
    "publish_snapshot",
    "recommit",
    "register_venue",
    "release",
    "request_credit",
    "retire_key",
    "revoke_key",
    "save_trust",
    "set_account",
    "set_breaker",
    "set_grant",
    "set_venue",
    "set_venue_cap",
    "set_zone",
    "statement_for",
    "trade_demands",
    "withdraw",
    "withdrawal_statement",
]  # fmt: skip
