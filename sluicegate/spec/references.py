"""References inside a scalar: `${env:NAME}`, `${env:NAME|default}`, `${file:/path}`, `${keyvault:vault/secret}`;
`$${` is a literal `${`.

They are resolved after parsing, so a value can never change the structure of a document, and what they resolve to is
never shown: errors quote what stands in the file.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import NamedTuple, Protocol

LARGEST_FILE = 64 * 1024

PENDING = "leads to a key vault, which was not asked: what is there is looked at when the gateway starts"
ASK = "sluicegate check --resolve asks it now"
"""Said of a secret that stands in for another one."""

_VAULT = re.compile(r"[A-Za-z][A-Za-z0-9-]{1,22}[A-Za-z0-9]/[A-Za-z0-9-]{1,127}(?:/[0-9a-f]{32})?")

_SOLE_VAULT = re.compile(r"\$\{keyvault:([^{}]*)\}")
NAMED = 8
"""Secrets that are named of those that cannot be read."""

_PIECE = re.compile(r"\$\$\{|\$\{(?P<inside>[^{}]*)\}|\$\{")
_SOLE = re.compile(r"\$\{[^{}]*\}")
_ENV = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?:\|(?P<default>.*))?", re.DOTALL)


class Wrong(Exception):
    """A scalar does not fit. `what` continues a sentence that begins with its text, unless that is better not `quoted`;
    `hint`: what to write instead; `better`: the same, made of the text, so it is shown only of text that stands in the
    file itself."""

    def __init__(self, what: str, hint: str = "", quoted: bool = True, better: str = "") -> None:
        super().__init__(what, hint)
        self.what = what
        self.hint = hint
        self.quoted = quoted
        self.better = better


class Told(Wrong):
    """The error that was raised for another scalar says this one, too."""


class Vault(Protocol):
    """Key vaults (upstream/credentials/keyvault.py)."""

    def __call__(self, reference: str) -> str:
        """What `vault/secret` leads to. Raises LookupError, whose text says why not."""

    def many(self, references: Sequence[str]) -> Mapping[str, str | LookupError]:
        """What each leads to, or why not; asked for side by side."""


class Resolved(NamedTuple):
    """A scalar's text after resolution; `referred`: it came from elsewhere, so it must not be shown."""

    text: str
    referred: bool


def read_file(path: str) -> str:
    """The content of a file, its final newline dropped. Raises Wrong."""
    try:
        with open(path, "rb", opener=lambda p, flags: os.open(p, flags | os.O_NONBLOCK)) as f:
            mode = os.fstat(f.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise Wrong(f"names {path}, which is not a regular file")
            if mode & stat.S_IWOTH:
                raise Wrong(f"names {path}, which anybody on this machine may change", f"chmod o-w {path}")
            content = f.read(LARGEST_FILE + 1)
    except OSError as e:
        raise Wrong(f"cannot be read: {(e.strerror or 'error').lower()}", f"is {path} there, for this user?") from None
    if len(content) > LARGEST_FILE:
        raise Wrong(f"names a file larger than {LARGEST_FILE // 1024} KiB")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise Wrong("names a file that is not UTF-8 text") from None
    return text.removesuffix("\n").removesuffix("\r")


class Sources:
    """Where references lead: an environment, files, and key vaults. `vault` says what `vault/secret` leads to, or
    raises LookupError; None: vaults are not asked."""

    def __init__(
        self, environ: Mapping[str, str], read: Callable[[str], str] = read_file,
        vault: Vault | None = None,
    ) -> None:  # fmt: skip
        self._vault = vault
        self._ahead: Mapping[str, str | LookupError] = {}
        "What vaults said, asked all at once."
        self._said: dict[str, str] = {}
        "Why secrets cannot be read, and the first of which it was said."
        self._environ = environ
        self._read = read
        self.files: list[str] = []
        "Files that references led to: a change in one of them is a change of the configuration."

    def ahead(self, texts: Iterable[str]) -> None:
        """Ask key vaults for whatever these texts will want, all at once: a hundred secrets one after the other are
        half a minute, and a vault that is slow is one for each."""
        if self._vault is None:
            return
        wanted = {found[1]: None for text in texts if (found := _SOLE_VAULT.fullmatch(text))}
        wanted = {name: None for name in wanted if _VAULT.fullmatch(name) and name not in self._ahead}
        if len(wanted) > 1:
            self._ahead = {**self._ahead, **self._vault.many(list(wanted))}

    def resolve(self, text: str, secret: bool = False) -> Resolved:
        """The text with its references resolved. `secret`: exactly one reference, without default. Raises Wrong."""
        if secret and not _SOLE.fullmatch(text):
            raise Wrong("must be a reference, and nothing else: secrets do not stand in the file", _INSTEAD)
        if "${" not in text:
            return Resolved(text, False)
        referred = False
        pieces = []
        end = 0
        for found in _PIECE.finditer(text):
            pieces.append(text[end : found.start()])
            end = found.end()
            if found[0] == "$${":
                pieces.append("${")
                continue
            inside = found["inside"]
            if inside is None:
                raise Wrong("has a ${ that is not closed", "write ${env:NAME}, or $${ for the characters ${")
            pieces.append(self._lookup(inside, secret))
            referred = True
        pieces.append(text[end:])
        return Resolved("".join(pieces), referred)

    def pending(self, text: str) -> bool:
        """Whether a secret leads to a key vault that was not asked: what it resolves to only stands for what is
        there."""
        return self._vault is None and text.startswith("${keyvault:")

    def _lookup(self, inside: str, secret: bool) -> str:
        scheme, colon, rest = inside.partition(":")
        if not colon or scheme not in ("env", "file", "keyvault"):
            raise Wrong("is not a reference we know", "write ${env:NAME}, ${file:/path} or ${keyvault:vault/secret}")
        if scheme == "keyvault":
            return self._secret(rest, secret)
        if scheme == "file":
            if not rest.startswith("/"):
                raise Wrong("names a file by a relative path", "write the whole path: ${file:/run/secrets/name}")
            self.files.append(rest)
            content = self._read(rest)
            if not content:
                raise Wrong("names an empty file", f"put the value into {rest}")
            return content
        return self._variable(rest, secret)

    def _secret(self, rest: str, secret: bool) -> str:
        if not secret:
            raise Wrong("leads to a key vault, which holds secrets only", "write ${env:NAME} or ${file:/path}")
        if not _VAULT.fullmatch(rest):
            hint = "write ${keyvault:vault/secret}: the vault's name, not its address; /version after it pins one"
            raise Wrong("does not name a secret of a key vault", hint)
        if self._vault is None:
            return f"not-looked-up:{blake2b(rest.encode(), digest_size=24).hexdigest()}"
        try:
            found = self._ahead.get(rest)
            if found is None:
                found = self._vault(rest)
            elif isinstance(found, LookupError):
                raise found
            return found.removesuffix("\n").removesuffix("\r")
        except LookupError as e:
            why = str(e)
            alike = [n for n, said in self._ahead.items() if isinstance(said, LookupError) and str(said) == why]
            if len(alike) > 1 and self._said.setdefault(why, rest) != rest:
                raise Told("was said already") from None
            hint = "may this identity read secrets there (role Key Vault Secrets User), and is its network open to us?"
            raise Wrong(f"cannot be read: {why}{_others([n for n in alike if n != rest])}", hint) from None

    def _variable(self, rest: str, secret: bool) -> str:
        parts = _ENV.fullmatch(rest)
        if parts is None:
            raise Wrong("does not name an environment variable", "write ${env:NAME}: letters, digits and _")
        name, default = parts["name"], parts["default"]
        if secret and default is not None:
            raise Wrong("has a default, which would be a secret in the file", f"write ${{env:{name}}} and set {name}")
        value = self._environ.get(name, "")
        if value:
            return value
        if default is not None:
            return default
        state = "empty" if name in self._environ else "not set"
        otherwise = "" if secret else f", or write ${{env:{name}|default}}"
        raise Wrong(f"cannot be resolved: the environment variable {name} is {state}", f"set {name}{otherwise}")


def _others(names: Sequence[str]) -> str:
    """That what was said is true of these, too."""
    if not names:
        return ""
    shown = ", ".join(names[:NAMED])
    return f"; so for {len(names)} more: {shown}{' ...' if len(names) > NAMED else ''}"


_INSTEAD = "write ${env:NAME} or ${file:/run/secrets/name}, and put the secret there"
