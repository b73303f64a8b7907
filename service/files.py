"""Files of holders, venues and operators: bounded reads, and the one writer of all commands.

The writer replaces a file in one step, files that belong together under one lock, and never a file of another kind.
Secrets have mode 0600 and are, with a passphrase, sealed. A sealed document is AES-256-GCM under a scrypt key
(RFC 7914; N = 2**15, r = 8, p = 1), the schema name as associated data.
"""

from __future__ import annotations

import base64
import fcntl
import glob
import json
import os
import secrets
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from zkmargin.circuits.canonical import canonical_bytes
from zkmargin.circuits.errors import InternalError, MalformedInput
from zkmargin.circuits.strict_json import MAX_JSON_BYTES, parse_json
from zkmargin.service.file_kinds import EMPTY, PEM_FILE, PUBLIC_KEY, SEALED, UNKNOWN, kind_of

#: As a path: standard input, or standard output.
STANDARD = Path("-")

#: Where the passphrase of sealed files comes from; never the command line, where other users could read it.
PASSPHRASE_VARIABLE = "ZKMARGIN_PASSPHRASE"  # noqa: S105 - the name of a variable
SEALED_SCHEMA = "zkmargin/sealed/1"
_SCRYPT = {"n": 2**15, "r": 8, "p": 1}


def read_file(path: Path) -> bytes:
    """A file's bytes, ``-`` for standard input. ``MalformedInput`` naming the path: missing, unreadable, above 16 MiB,
    or one of several files of which an interrupted command wrote only some.
    """
    try:
        if path == STANDARD:
            return _bounded(sys.stdin.buffer.read(MAX_JSON_BYTES + 1), path)
        with path.open("rb") as handle:
            data = _bounded(handle.read(MAX_JSON_BYTES + 1), path)
    except OSError as err:
        raise MalformedInput(err.strerror or "cannot be read", field=str(path)) from None
    _check_whole(path)
    return data


def read_public_key(path: Path) -> bytes:
    """Bytes of a public signing key's file, for who parses it; a file that is clearly something else is named."""
    data = read_file(path)
    kind = kind_of(data)
    if kind not in (PUBLIC_KEY, PEM_FILE, UNKNOWN, EMPTY):
        raise MalformedInput(f"this is a {kind}; a {PUBLIC_KEY} (PEM) was expected", field=str(path))
    return data


def _bounded(data: bytes, path: Path) -> bytes:
    if len(data) > MAX_JSON_BYTES:
        raise MalformedInput(f"larger than {MAX_JSON_BYTES} bytes", field=str(path))
    return data


@dataclass(frozen=True)
class Output:
    """A file to write. ``kind`` is that of the plain bytes, ``private`` means mode 0600, and ``only_copy`` a secret
    that nobody could make again, which is replaced by force only.
    """

    path: Path
    data: bytes = field(repr=False)
    kind: str
    private: bool = False
    only_copy: bool = False


def public(path: Path, data: bytes) -> Output:
    """A file that anybody may read."""
    return Output(path, data, kind_of(data))


def private(path: Path, data: bytes) -> Output:
    """A file for its owner's eyes, which can be made again at any time."""
    return Output(path, data, kind_of(data), private=True)


def secret(path: Path, data: bytes, *, unencrypted: bool) -> Output:
    """A secret document: sealed under the passphrase, or in clear (mode 0600) if the caller asked for that."""
    kind, passphrase = kind_of(data), os.environ.get(PASSPHRASE_VARIABLE)
    if passphrase:
        data = seal(data, passphrase)
    elif not unencrypted:
        raise MalformedInput(f"set {PASSPHRASE_VARIABLE} to seal this file, or pass --unencrypted", field=str(path))
    return Output(path, data, kind, private=True, only_copy=True)


#: The output paths of the running command; None outside of one. A folder stands for what is in it.
_declared: ContextVar[tuple[Path, ...] | None] = ContextVar("declared", default=None)


@contextmanager
def declared(paths: Iterable[Path]) -> Iterator[None]:
    """Within a command, only these paths can be written."""
    token = _declared.set(tuple(paths))
    try:
        yield
    finally:
        _declared.reset(token)


def write_file(path: Path, data: bytes) -> None:
    """Write one public file: :func:`write_files`."""
    write_files(public(path, data))


def write_files(*outputs: Output, force: bool = False) -> None:
    """Write files that belong together: all, or none that a reader would take for the whole.

    Every file is replaced in one step, so that readers see the old bytes or the new ones. Nothing is written over a
    file of another kind, nor over the only copy of a secret unless ``force``. Other processes that write in the same
    folders wait. After a crash between two files, :func:`read_file` and the next writer name them.
    """
    allowed = _declared.get()
    for output in outputs:
        if allowed is not None and not any(output.path == path or path in output.path.parents for path in allowed):
            raise InternalError(f"a command writes {output.kind}, and does not declare it")
    files = [output for output in outputs if output.path != STANDARD]
    with _locked({output.path.parent for output in files}):
        for output in files:
            check_target(output.path, output.kind, only_copy=output.only_copy, force=force)
        _replace(files)
    for output in outputs:
        if output.path == STANDARD:
            sys.stdout.buffer.write(output.data + b"\n")
            sys.stdout.buffer.flush()


def check_target(path: Path, kind: str, *, only_copy: bool = False, force: bool = False) -> None:
    """Refuse what would lose a file: a folder that is not there, a target of another kind, an existing secret."""
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise MalformedInput("its directory is missing or cannot be written", field=str(path))
    if not path.exists():
        return
    if not path.is_file():
        raise MalformedInput("is not a regular file", field=str(path))
    if only_copy and path.stat().st_size and not force:
        raise MalformedInput("exists, and may be the only copy of a secret; --force replaces it", field=str(path))
    found = _present_kind(path)
    if found not in (EMPTY, kind):
        raise MalformedInput(f"is a {found}, which a {kind} does not replace; move it away first", field=str(path))


def _present_kind(path: Path) -> str:
    """The kind of an existing file; of a sealed one that the passphrase opens, what is inside."""
    try:
        with path.open("rb") as handle:
            data = handle.read(MAX_JSON_BYTES + 1)
    except OSError as err:
        raise MalformedInput(err.strerror or "cannot be read", field=str(path)) from None
    kind = kind_of(data)
    if kind != SEALED:
        return kind
    try:
        return kind_of(unseal(data, name=str(path)))
    except MalformedInput:
        return SEALED


@contextmanager
def _locked(folders: Iterable[Path]) -> Iterator[None]:
    """Hold folders for ourselves, always in the same order. The lock ends with the process."""
    with ExitStack() as stack:
        for folder in sorted({folder.resolve() for folder in folders}):
            try:
                descriptor = os.open(folder, os.O_RDONLY)
                stack.callback(os.close, descriptor)
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            except OSError as err:
                raise MalformedInput(err.strerror or "cannot be locked", field=str(folder)) from None
        yield


def _replace(files: Sequence[Output]) -> None:
    """Make all new bytes durable beside their targets, note what belongs together, and move them into place."""
    ready: list[str] = []
    moved = 0
    try:
        for output in files:
            ready.append(_temporary(output))
        if len(files) > 1:
            _mark(files)
        for name, output in zip(ready, files, strict=True):
            os.replace(name, output.path)
            moved += 1
    except OSError as err:
        place = str(files[min(max(len(ready) - 1, moved), len(files) - 1)].path)
        raise MalformedInput(err.strerror or "cannot be written", field=place) from None
    finally:
        for name in ready:
            with suppress(FileNotFoundError):
                os.unlink(name)
        if moved in (0, len(files)):
            for output in files:
                _marker(output.path).unlink(missing_ok=True)


def _temporary(output: Output) -> str:
    """The new bytes in a file beside the target, which has mode 0600 from the start. Remains of a crash go."""
    path = output.path
    prefix, suffix = f".{path.name}.", ".tmp"
    for left in path.parent.glob(f"{glob.escape(prefix)}????????{suffix}"):
        left.unlink(missing_ok=True)
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=prefix, suffix=suffix)
    except OSError as err:
        raise MalformedInput(err.strerror or "cannot be written", field=str(path)) from None
    try:
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(output.data)
            handle.flush()
            os.fsync(handle.fileno())
        if not output.private:
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(name, 0o666 & ~mask)
    except BaseException:
        os.unlink(name)
        raise
    return name


def _marker(path: Path) -> Path:
    return path.parent / f".{path.name}.pending"


def _mark(files: Sequence[Output]) -> None:
    """Beside each file, the SHA-256 of all that are to be written together; only a crash leaves it there."""
    for output in files:
        folder = output.path.parent.resolve()
        names = {os.path.relpath(other.path.absolute(), folder): sha256(other.data).hexdigest() for other in files}
        marker = _marker(output.path)
        marker.unlink(missing_ok=True)
        # Made by us and no link to elsewhere, whoever else may write in this folder.
        descriptor = os.open(marker, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(canonical_bytes(names))
            handle.flush()
            os.fsync(handle.fileno())


def _check_whole(path: Path) -> None:
    """Refuse a file whose marker says that an interrupted command wrote it and not the others, or the reverse."""
    marker = _marker(path)
    if not marker.exists():
        return
    with _locked({path.parent}):  # whoever is writing just now finishes first
        try:
            names = json.loads(marker.read_bytes())
            written = {name: _is(path.parent / name, digest) for name, digest in names.items()}
        except FileNotFoundError:
            return
        except (OSError, ValueError, AttributeError, TypeError):
            raise MalformedInput("the note of what belongs to it is damaged", field=str(marker)) from None
    if len(set(written.values())) > 1:
        apart = ", ".join(sorted(name for name in names if name != path.name))
        raise MalformedInput(
            f"an interrupted command wrote only some of this file and {apart}: write them again, together",
            field=str(path),
        )


def _is(path: Path, digest: str) -> bool:
    return path.is_file() and sha256(path.read_bytes()).hexdigest() == digest


def _cipher(passphrase: str, salt: bytes) -> Any:
    import hashlib

    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    key = hashlib.scrypt(os.fsencode(passphrase), salt=salt, maxmem=64 * 1024 * 1024, dklen=32, **_SCRYPT)
    return AESGCM(key)


def seal(data: bytes, passphrase: str) -> bytes:
    """Encrypt a document under a passphrase."""
    salt, nonce = secrets.token_bytes(16), secrets.token_bytes(12)
    box = _cipher(passphrase, salt).encrypt(nonce, data, SEALED_SCHEMA.encode())
    return canonical_bytes(
        {
            "schema": SEALED_SCHEMA,
            "salt": salt.hex(),
            "nonce": nonce.hex(),
            "box": base64.b64encode(box).decode(),
        }
    )


def unseal(data: bytes, *, name: str) -> bytes:
    """The document inside a sealed one; anything else is returned as it is. The passphrase comes from the
    environment.
    """
    if SEALED_SCHEMA.encode() not in data[:MAX_JSON_BYTES]:
        return data
    tree = parse_json(data, name=name)
    if not isinstance(tree, dict) or tree.get("schema") != SEALED_SCHEMA:
        return data
    passphrase = os.environ.get(PASSPHRASE_VARIABLE)
    if not passphrase:
        raise MalformedInput(f"is sealed; set {PASSPHRASE_VARIABLE}", field=name)
    from cryptography.exceptions import InvalidTag

    try:
        salt, nonce = bytes.fromhex(tree["salt"]), bytes.fromhex(tree["nonce"])
        box = base64.b64decode(tree["box"], validate=True)
        opened: bytes = _cipher(passphrase, salt).decrypt(nonce, box, SEALED_SCHEMA.encode())
    except InvalidTag:
        raise MalformedInput("wrong passphrase or damaged file", field=name) from None
    except (KeyError, TypeError, ValueError):
        raise MalformedInput("not a sealed document", field=name) from None
    return opened
