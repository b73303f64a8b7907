"""An application is made of domains: each declares its calls, what they get beyond others, and its own problems."""

from __future__ import annotations

import importlib
import pkgutil
from types import MappingProxyType
from typing import Annotated

import pytest
from fastapi import APIRouter
from pydantic import StringConstraints

from tests.support.services import call, is_problem, settings
from zkmargin.circuits.schema import Strict
from zkmargin.service.errors import NotFound
from zkmargin.service.http import problems, routes
from zkmargin.service.http.app import application
from zkmargin.service.http.context import Role, Service
from zkmargin.service.http.domain import Allowance, Allowances, Domain
from zkmargin.service.http.lanes import HEALTH, PUBLIC
from zkmargin.service.http.problems import ProblemType, declare
from zkmargin.service.http.roles import hub, verifier
from zkmargin.service.http.routing import StrictRoute
from zkmargin.service.http.schemas import Answer

COLOUR = r"^[a-z]{1,12}$"


class Paint(Strict):
    """What to paint."""

    colour: Annotated[str, StringConstraints(pattern=COLOUR)]


class Painted(Answer):
    """What was painted."""

    colour: str


class NoSuchColour(NotFound):
    """A problem of this domain alone."""

    code = "no-such-colour"


@pytest.fixture
def own_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    """Problem types that this test declares are forgotten after it."""
    registry = dict(problems.PROBLEMS)
    monkeypatch.setattr(problems, "_REGISTRY", registry)
    monkeypatch.setattr(problems, "PROBLEMS", MappingProxyType(registry))


def painting() -> Role[Service]:
    """A role with one domain of its own beside the verifier's."""
    code = declare(ProblemType("no-such-colour", 404, "The colour is unknown", "Choose another colour."))
    router = APIRouter(prefix="/v1/paint", tags=["paint"], route_class=StrictRoute)

    @router.post("", operation_id="paint", responses=problems.responses(code, with_body=True))
    async def paint(body: Paint) -> Painted:
        """Paint."""
        if body.colour == "octarine":
            raise NoSuchColour("not in the box", field="colour")
        return Painted(colour=body.colour)

    domain = Domain(
        router,
        allowances=(Allowance("/v1/paint", "POST", lane=HEALTH, large=True, cross_origin=True),),
        forms={COLOUR: "must be a colour in small letters"},
        tags={"paint": "colours"},
    )
    return Role("Paints.", (*verifier.DOMAINS, domain), verifier.make, verifier.running)


@pytest.mark.usefixtures("own_problems")
def test_a_domain_brings_its_calls_problems_forms_and_tags() -> None:
    app = application(painting(), settings())
    assert call("POST", "/v1/paint", app=app, json={"colour": "red"}).json() == {"colour": "red"}
    unknown = call("POST", "/v1/paint", app=app, json={"colour": "octarine"})
    is_problem(unknown, 404, "no-such-colour", "colour")
    assert call("GET", unknown.json()["type"], app=app).json()["remedy"] == "Choose another colour."
    refused = call("POST", "/v1/paint", app=app, json={"colour": "RED"}).json()
    assert (refused["code"], refused["detail"]) == ("malformed-input", "must be a colour in small letters")
    tree = app.openapi()
    described = tree["paths"]["/v1/paint"]["post"]["responses"]["404"]["content"][problems.MEDIA_TYPE]["examples"]
    assert described["no-such-colour"]["value"]["status"] == 404
    assert {"name": "paint", "description": "colours"} in tree["tags"]


@pytest.mark.usefixtures("own_problems")
def test_a_domain_says_what_its_calls_get_beyond_others() -> None:
    role = painting()
    app = application(role, settings(max_body_bytes=1024, cors_origins=("https://app.example",)))
    long = {"colour": "x" * 2000}
    is_problem(call("POST", "/v1/paint", app=app, json=long), 422, "malformed-input", "colour")
    is_problem(call("PUT", "/v1/paint", app=app, json=long), 413, "body-too-large", "content-length")
    asked = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    allowed = call("OPTIONS", "/v1/paint", app=app, headers=asked).headers["access-control-allow-origin"]
    assert allowed == "https://app.example"
    service = app.state.service
    assert service.lane({"path": "/v1/paint", "method": "POST"}) == HEALTH
    assert service.lane({"path": "/v1/paint", "method": "GET"}) == PUBLIC


@pytest.mark.usefixtures("own_problems")
def test_one_code_means_one_thing() -> None:
    problem = ProblemType("no-such-colour", 404, "The colour is unknown", "Choose another colour.")
    assert declare(problem) == declare(problem) == "no-such-colour"
    with pytest.raises(ValueError, match="no-such-colour"):
        declare(ProblemType("no-such-colour", 409, "The colour is unknown", "Choose another colour."))
    with pytest.raises(ValueError, match="not-found"):
        declare(ProblemType("not-found", 404, "Lost", "Look again."))


def test_every_domain_is_in_one_role() -> None:
    """A module that no role lists would be served by nobody."""
    found = []
    for module in pkgutil.walk_packages(routes.__path__, f"{routes.__name__}."):
        domain = getattr(importlib.import_module(module.name), "DOMAIN", None)
        if domain is not None:
            found.append(domain)
    listed = [*verifier.DOMAINS, *hub.DOMAINS]
    assert len(found) == len(listed) > 5
    assert all(domain in listed for domain in found)
    assert hub.ROLE.domains == (*verifier.DOMAINS, *hub.DOMAINS)


def test_allowances_are_of_calls_that_are_there_and_signed_calls_are_open_to_no_page() -> None:
    domains = hub.ROLE.domains
    paths = application(hub.ROLE, settings(role="hub")).openapi()["paths"]
    allowed = [allowance for domain in domains for allowance in domain.allowances]
    assert len(allowed) > 5
    for allowance in allowed:
        if allowance.path == "/v1/openapi.json":  # describes the others, and not itself
            continue
        calls = paths[allowance.path]
        assert allowance.method is None or allowance.method.lower() in calls
        if allowance.cross_origin:
            assert not any("security" in described for described in calls.values())
    assert len(Allowances(domains).cross_origin) == 5
