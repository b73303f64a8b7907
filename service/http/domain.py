"""What a domain of calls declares of itself, beside its models and calls; an application is made of domains.

A call is added in its domain's module and nowhere else: its models, its problems, and here what it gets beyond other
calls (a lane of its own, a large body, readers in browsers of other origins).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fastapi import APIRouter
from pydantic import BaseModel


@dataclass(frozen=True)
class Allowance:
    """What the calls of a path get beyond others; ``method`` None is every method.

    ``lane`` is their own lane, ``large`` a body of ``max_document_bytes``. ``cross_origin`` opens the whole path to
    pages of other origins: never for a signed call.
    """

    path: str
    method: str | None = None
    lane: str | None = None
    large: bool = False
    cross_origin: bool = False


@dataclass(frozen=True)
class Domain:
    """The calls of one domain. ``models`` are those that the API description needs and no signature names; ``forms``
    is what callers are told instead of a pattern; ``tags`` are described tags.
    """

    router: APIRouter
    allowances: tuple[Allowance, ...] = ()
    models: tuple[type[BaseModel], ...] = ()
    forms: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


class Allowances:
    """All allowances of an application, by path and method as a request has them."""

    def __init__(self, domains: Iterable[Domain]) -> None:
        given = [allowance for domain in domains for allowance in domain.allowances]
        self._lanes = {(a.path, a.method): a.lane for a in given if a.lane is not None}
        self._large = frozenset((a.path, a.method) for a in given if a.large)
        #: Paths that pages of other origins may use.
        self.cross_origin = frozenset(a.path for a in given if a.cross_origin)

    def lane(self, path: str, method: str) -> str | None:
        """The lane of its own that a call has."""
        return self._lanes.get((path, method)) or self._lanes.get((path, None))

    def large(self, path: str, method: str) -> bool:
        """Whether a call may have a body of ``max_document_bytes``."""
        return (path, method) in self._large or (path, None) in self._large
