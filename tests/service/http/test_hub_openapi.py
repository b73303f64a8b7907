"""The hub's API description against the running hub: no answer that it does not describe, signed or not."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS

from tests.support.ledgers import fresh_url
from tests.support.live import Live, Signed, live_hub
from zkmargin.service.http.problems import MEDIA_TYPE, PROBLEMS

#: Examples of each call; ``make fuzz-service`` sets more.
EXAMPLES = int(os.environ.get("ZKMARGIN_FUZZ_EXAMPLES", "4"))
#: A description cannot say what a ledger holds, so that what is accepted is not among these.
NAMES = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
    "response_schema_conformance",
)  # fmt: skip


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    directory = tmp_path_factory.mktemp("hub")
    with fresh_url("sqlite", directory) as url, live_hub(url, directory / "log") as made:
        yield made


def description(live: Live) -> dict[str, Any]:
    tree: dict[str, Any] = live.session.http.get("/v1/openapi.json").json()
    return tree


def caller_of(path: str, method: str) -> str:
    """Who may make this call, so that a signature leads as deep as possible."""
    if path == "/v1/snapshots":
        return "oracle/feed"
    if path.startswith(("/v1/credits", "/v1/trades")) and method == "POST":
        return "venue/spoke-a"
    if path == "/v1/keys/{kid}/retire":
        return "account/bob"
    if path.endswith(("/withdrawals", "/opening", "/grants/{venue}", "/epochs")):
        return "account/alice"
    return "operator/ops"


KNOWN = {"account": "alice", "venue": "spoke-b", "zone": "zone-1"}


def explore(live: Live, operation: Any, checks: list[Any]) -> int:
    """Generated requests of one call; gives how many."""
    caller, sent = caller_of(operation.path, operation.method.upper()), 0
    known = KNOWN | {"credit": live.credit}
    modes = [GenerationMode.POSITIVE]
    if operation.body or operation.path_parameters or operation.query:
        modes.append(GenerationMode.NEGATIVE)

    @settings(
        max_examples=EXAMPLES, derandomize=True, database=None, deadline=None,
        phases=[Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(data=st.data())
    def run(data: st.DataObject) -> None:
        nonlocal sent
        case = data.draw(operation.as_strategy(generation_mode=data.draw(st.sampled_from(modes))))
        if data.draw(st.booleans()) and isinstance(case.path_parameters, dict):
            case.path_parameters.update({k: v for k, v in known.items() if k in case.path_parameters})
        headers = {}
        if operation.method.upper() != "GET" and data.draw(st.integers(0, 3)):
            headers["Idempotency-Key"] = secrets.token_hex(8)
        auth = Signed(live.hub.signers[caller]) if data.draw(st.integers(0, 3)) else None
        answer = case.call(base_url=live.url, headers=headers, auth=auth, timeout=60)
        case.validate_response(answer, checks=checks)
        sent += 1

    run()
    return sent


@pytest.mark.slow
@pytest.mark.slow
def test_generated_requests_find_nothing_undescribed(live: Live) -> None:
    """Every call with data of the described form and without, by whoever may make it and by nobody."""
    schema = schemathesis.openapi.from_dict(description(live))
    checks = CHECKS.get_by_names(NAMES)
    sent = {result.ok().label: explore(live, result.ok(), checks) for result in schema.get_all_operations()}
    live.alive()
    assert len(sent) == sum(len(calls) for calls in description(live)["paths"].values())
    assert sum(sent.values()) >= len(sent)


def test_every_call_and_problem_has_an_example(live: Live) -> None:
    """Each body and answer has an example; each problem type too, at its own status."""
    tree = description(live)
    models = tree["components"]["schemas"]
    problems: set[str] = set()

    def has_example(content: dict[str, Any]) -> bool:
        name = content["schema"].get("$ref", "").rsplit("/", 1)[-1]
        return bool(content.get("example") or content.get("examples") or models.get(name, {}).get("examples"))

    for path, calls in tree["paths"].items():
        for method, call in calls.items():
            where = f"{method} {path}"
            if "requestBody" in call:
                assert has_example(call["requestBody"]["content"]["application/json"]), where
            for status, answer in call["responses"].items():
                for kind, content in answer.get("content", {}).items():
                    if kind == MEDIA_TYPE:
                        for code, example in content["examples"].items():
                            assert str(PROBLEMS[code].status) == status == str(example["value"]["status"]), where
                            problems.add(code)
                    elif kind == "application/json":
                        assert has_example(content), f"{where} {status}"
    # These never come from a described call: the command line's, the client's, the oracle's, another method's, and what
    # the edge refuses before a call is known.
    assert set(PROBLEMS) - problems <= {
        "missing-extra",
        "log-forked",
        "oracle-refused",
        "not-solvent",
        "corrupt-data",
        "method-not-allowed",
        "head-too-large",
    }


def test_examples_of_the_description_are_of_their_form(live: Live) -> None:
    """Every example of a model validates against the model's own schema."""
    import jsonschema_rs

    tree = description(live)
    checked = 0
    for name, model in tree["components"]["schemas"].items():
        for example in model.get("examples", []):
            schema = {"$ref": f"#/components/schemas/{name}", "components": tree["components"]}
            jsonschema_rs.validate(schema, example)
            checked += 1
    assert checked > 20
