"""The SRS: what ships has its structure, a changed file is named, a broken structure is found by name."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import pytest
from py_arkworks_bls12381 import G1Point, G2Point

from tests.support.toy import ToySrs
from zkmargin.circuits.errors import CorruptData
from zkmargin.circuits.layout import DOMAINS
from zkmargin.verifier import srs as module
from zkmargin.verifier.field import ONE, scalar
from zkmargin.verifier.srs import PINNED, SRS_DIGEST, SRS_SIZE, Srs, ethereum, read_pinned
from zkmargin.verifier.srs_structure import check_structure

DATA = Path(module.__file__).parent / "data"


def test_the_shipped_structure_holds() -> None:
    assert list(check_structure(ethereum())) == [
        "sizes of both files",
        GENERATORS,
        NOT_TRIVIAL,
        "every G1 power is in the subgroup",
        "every G2 power is in the subgroup",
        G1_STEP,
        G2_STEP,
        *(f"Lagrange basis {n} matches the powers" for n in DOMAINS),
    ]


def test_a_toy_srs_has_the_structure_and_another_digest() -> None:
    """The structure cannot tell who knows tau: that is what the pinned digests and the ceremony are for."""
    toy = ToySrs(size=SRS_SIZE)
    assert len(list(check_structure(toy))) == 7 + len(DOMAINS)
    assert toy.digest != ethereum().digest


def test_the_digest_names_both_files_of_powers() -> None:
    files = [hashlib.sha256((DATA / name).read_bytes()).digest() for name in ("powers_g1.bin", "powers_g2.bin")]
    assert hashlib.sha256(b"".join(files)).digest() == SRS_DIGEST == ethereum().key.digest


def test_every_data_file_is_pinned() -> None:
    assert {path.name for path in DATA.glob("*.bin")} == set(PINNED)


@pytest.mark.parametrize("part", ["powers_g1", "powers_g2"])
def test_the_verifier_key_is_part_of_the_powers(part: str) -> None:
    key, srs = ethereum().key, ethereum()
    own = {"powers_g1": [key.g1], "powers_g2": [key.g2, key.tau_g2]}[part]
    assert getattr(srs, part)[: len(own)] == own


def redirect(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let the data files come from another folder."""
    monkeypatch.setattr(module.resources, "files", lambda _: folder)


def copied(folder: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    """A data folder in which one file is changed."""
    for path in DATA.glob("*.bin"):
        data = path.read_bytes()
        (folder / path.name).write_bytes(change(data) if path.name == name else data)


def load(srs: Srs, name: str) -> object:
    """Use the part of the SRS that one file holds."""
    if name.startswith("lagrange"):
        return srs.lagrange(int(name.removesuffix(".bin").split("_")[1]))
    return getattr(srs, name.removesuffix(".bin"))


CORRUPTIONS: dict[str, Callable[[bytes], bytes]] = {
    "one bit": lambda data: data[:1000] + bytes([data[1000] ^ 1]) + data[1001:],
    "last byte": lambda data: data[:-1] + bytes([data[-1] ^ 0x80]),
    "truncated": lambda data: data[:-1],
    "one more byte": lambda data: data + b"\x00",
    "two points swapped": lambda data: data[192:384] + data[:192] + data[384:],
    "empty": lambda _: b"",
}


@pytest.mark.parametrize("change", CORRUPTIONS.values(), ids=CORRUPTIONS)
@pytest.mark.parametrize("name", PINNED)
def test_a_changed_file_is_named(
    name: str, change: Callable[[bytes], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied(tmp_path, name, change)
    redirect(monkeypatch, tmp_path)
    with pytest.raises(CorruptData) as caught:
        load(Srs(), name)
    assert caught.value.field == name


@pytest.mark.parametrize("name", ["powers_g1.bin", "powers_g2.bin"])
def test_the_verifier_key_checks_the_whole_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change far behind the points that the key reads."""
    copied(tmp_path, name, CORRUPTIONS["last byte"])
    redirect(monkeypatch, tmp_path)
    with pytest.raises(CorruptData) as caught:
        _ = Srs().key
    assert caught.value.field == name


@pytest.mark.parametrize("name", PINNED)
def test_a_missing_file_is_named(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    redirect(monkeypatch, tmp_path)
    with pytest.raises(CorruptData) as caught:
        read_pinned(name)
    assert caught.value.field == name


def test_an_unchanged_copy_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Control of the redirection."""
    copied(tmp_path, "powers_g1.bin", lambda data: data)
    redirect(monkeypatch, tmp_path)
    assert Srs().powers_g1[5] == ethereum().powers_g1[5]


class Bent(Srs):
    """The shipped SRS with some of its points replaced."""

    def __init__(self, g1: dict[int, G1Point] | None = None, g2: dict[int, G2Point] | None = None) -> None:
        real = ethereum()
        self.powers_g1 = [(g1 or {}).get(i, p) for i, p in enumerate(real.powers_g1)]
        self.powers_g2 = [(g2 or {}).get(i, p) for i, p in enumerate(real.powers_g2)]
        self.bases = {n: list(real.lagrange(n)) for n in DOMAINS}

    def lagrange(self, n: int) -> list[G1Point]:
        return self.bases[n]


def low_order_g1() -> G1Point:
    """(0, 2): on the curve, of order 3."""
    return G1Point.from_xy_bytes_unchecked_be(bytes(95) + b"\x02")


def other_tau_g2() -> Bent:
    """Consistent powers of another tau in the second group."""
    out = Bent()
    out.powers_g2 = ToySrs(5).powers_g2
    return out


def other_generator() -> Bent:
    """Everything multiplied by two: consistent, on another generator."""
    out = Bent()
    two = scalar(2)
    out.powers_g1 = [p * two for p in out.powers_g1]
    return out


def trivial(tau: int) -> Bent:
    """tau = 0 or 1."""
    out = Bent()
    out.powers_g1[1:] = [G1Point() if tau else G1Point.identity()] * (SRS_SIZE - 1)
    return out


def short() -> Bent:
    """One power is missing."""
    out = Bent()
    out.powers_g1.pop()
    return out


def bent_basis(n: int, change: Callable[[list[G1Point]], None]) -> Bent:
    """One Lagrange basis is changed."""
    out = Bent()
    change(out.bases[n])
    return out


def swap(basis: list[G1Point]) -> None:
    basis[3], basis[4] = basis[4], basis[3]


def shift(basis: list[G1Point]) -> None:
    basis[-1] = basis[-1] + G1Point()


def rotate(basis: list[G1Point]) -> None:
    basis[:] = [*basis[1:], basis[0]]


def outside_g2() -> Bent:
    """A point that says of itself that it is outside the subgroup."""
    out = Bent()
    out.powers_g2[7] = SimpleNamespace(is_in_subgroup=lambda: False)  # type: ignore[call-overload]
    return out


def powers_of(srs: Srs) -> list[G1Point]:
    return srs.powers_g1


G1_STEP = "consecutive G1 powers differ by tau"
G2_STEP = "consecutive G2 powers differ by the same tau"
GENERATORS = "generators are the standard ones"
NOT_TRIVIAL = "tau is neither 0 nor 1"
BROKEN: dict[str, tuple[Callable[[], Srs], str]] = {
    "one power wrong": (lambda: Bent(g1={77: G1Point() * scalar(9)}), G1_STEP),
    "last power wrong": (lambda: Bent(g1={SRS_SIZE - 1: powers_of(ethereum())[0]}), G1_STEP),
    "two powers swapped": (
        lambda: Bent(g1={10: powers_of(ethereum())[11], 11: powers_of(ethereum())[10]}),
        G1_STEP,
    ),
    "one power negative": (lambda: Bent(g1={500: -powers_of(ethereum())[500]}), G1_STEP),
    "other tau in G2": (other_tau_g2, G1_STEP),
    "one G2 power wrong": (lambda: Bent(g2={2: G2Point() * scalar(9)}), G2_STEP),
    "last G2 power wrong": (lambda: Bent(g2={64: G2Point() * scalar(9)}), G2_STEP),
    "other generator": (other_generator, GENERATORS),
    "other G2 generator": (lambda: Bent(g2={0: G2Point() * scalar(3)}), GENERATORS),
    "tau is 0": (lambda: trivial(0), NOT_TRIVIAL),
    "tau is 1": (lambda: trivial(1), NOT_TRIVIAL),
    "one power short": (short, "sizes of both files"),
    "a power of low order": (
        lambda: Bent(g1={1000: powers_of(ethereum())[1000] + low_order_g1()}),
        "every G1 power is in the subgroup",
    ),
    "a G2 power outside the subgroup": (outside_g2, "every G2 power is in the subgroup"),
}
BROKEN |= {
    f"Lagrange {n}: {change.__name__}": (
        lambda n=n, change=change: bent_basis(n, change),
        f"Lagrange basis {n} matches the powers",
    )
    for n, change in zip(DOMAINS, (swap, shift, rotate, swap), strict=True)
}


@pytest.mark.slow
@pytest.mark.parametrize(("make", "name"), BROKEN.values(), ids=BROKEN)
def test_a_broken_structure_is_found_by_name(make: Callable[[], Srs], name: str) -> None:
    with pytest.raises(CorruptData) as caught:
        list(check_structure(make()))
    assert caught.value.field == name


def test_only_the_first_power_must_not_be_trivial() -> None:
    """tau = -1 would be a known tau like any other: which tau it is, only the pinned digests say."""
    bent = Bent(g1={2: G1Point()})
    assert list(islice(check_structure(bent), 3))[-1] == NOT_TRIVIAL


@pytest.mark.parametrize("n", DOMAINS)
def test_every_lagrange_basis_sums_to_the_generator(n: int) -> None:
    """What :meth:`CommitmentKey.commit_values` relies on."""
    total = G1Point.identity()
    for point in ethereum().lagrange(n):
        total = total + point
    assert total == G1Point() * ONE
