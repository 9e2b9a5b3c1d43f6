"""The embedded store: one age file a server, for machines without a keyring.

The plaintext of a file is the answer that a client gets, so `age -d -i IDENTITY FILE` shows it, and a file that was
moved under another server's name gives itself away. The format is that of age-encryption.org/v1.

This module is on the way of a `get` from the embedded store: it imports built-ins, and `pyrage` where it decrypts.
"""

from _blake2 import blake2b

from credhelpers.credential import Credential
from credhelpers.errors import Unavailable, withheld

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from credhelpers.identity import Environment
    from credhelpers.stores.folder import Folder

_SUFFIX = b".age"
_IDENTITY = b"identity.txt"
_KEY = b"AGE-SECRET-KEY-1"
_SSH = b"-----BEGIN OPENSSH PRIVATE KEY-----"
_SSH_END = b"-----END OPENSSH PRIVATE KEY-----"
_SSH_MAGIC = b"openssh-key-v1\0"  # PROTOCOL.key of OpenSSH
_PROTECTED = (b"age-encryption.org/v1", b"-----BEGIN AGE ENCRYPTED FILE-----")
_KEY_BYTES = 64 * 1024


class Age:
    """The store in `folder`, whose identity is there too or is named by `CREDHELPERS_AGE_IDENTITY`."""

    __slots__ = ("_environ", "_folder")

    def __init__(self, folder: "Folder", environ: "Environment") -> None:
        self._folder = folder
        self._environ = environ

    def read(self, server: str) -> Credential | None:
        """The credential under exactly this key, or None.

        Raises Withheld if there is one that cannot be read, another Unavailable if nobody can tell.
        """
        try:
            content = self._folder.read(_name(server))
            return None if content is None else _credential(server, _decrypt(content, self._identities()))
        except Unavailable as trouble:
            if self._folder.may_have_had(_name(server)):
                raise withheld(trouble) from None
            raise

    def write(self, server: str, credential: Credential) -> None:
        """Keep the credential under exactly this key."""
        import pyrage

        self._folder.make()
        key = self._key_file()
        if key is None:
            identity = pyrage.x25519.Identity.generate()
            content = f"# public key: {identity.to_public()}\n{identity}\n".encode()
            self._folder.create(_IDENTITY, content)
            key = self._key_file() or b""
        self._folder.write(_name(server), pyrage.encrypt(credential.answer(server), _recipients(key)))

    def remove(self, server: str) -> bool:
        """Whether there was an item under exactly this key. Works without the identity. Raises as `read` does."""
        try:
            return self._folder.remove(_name(server))
        except Unavailable as trouble:
            if self._folder.may_have_had(_name(server)):
                raise withheld(trouble) from None
            raise

    def servers(self) -> dict[str, str]:
        """Server to user name of every item that `read` would answer. Others are left out."""
        names = [name for name in self._folder.names() if name.endswith(_SUFFIX)]
        if not names:  # as at each miss where nothing is kept
            return {}
        import json

        found: dict[str, str] = {}
        identities = self._identities()
        for name in names:
            content = self._folder.read(name)
            try:
                line = _decrypt(content or b"", identities)
                server = json.loads(line)["ServerURL"]
                if _name(server) == name and not (credential := _credential(server, line)).is_empty():
                    found[server] = credential.username
            except (Unavailable, ValueError, KeyError, TypeError):
                continue  # `get` says what is wrong with it
        return found

    def _key_file(self) -> bytes | None:
        """The content of the identity file; None if it is still to be made."""
        named = self._environ.get(b"CREDHELPERS_AGE_IDENTITY", b"")
        return _named_key(named) if named else self._folder.read(_IDENTITY)

    def _identities(self) -> "list[Any]":
        key = self._key_file()
        if key is None:
            raise Unavailable(
                "age-identity-gone",
                "the identity file of the embedded store is gone, so its entries cannot be read",
                "bring back its identity.txt from a backup, or `docker login` again",
            )
        return _identities(key)


def _name(server: str) -> bytes:
    return blake2b(server.encode(), digest_size=20).hexdigest().encode() + _SUFFIX


def _credential(server: str, line: bytes) -> Credential:
    """What is in an item. Raises Unavailable if it is no answer for exactly this server."""
    try:
        return Credential.answered(server, line)
    except ValueError:
        raise _damaged() from None


def _decrypt(content: bytes, identities: "list[Any]") -> bytes:
    import pyrage

    try:
        plain: bytes = pyrage.decrypt(content, identities)
    except pyrage.DecryptError as error:
        if str(error) == "No matching keys found":
            raise Unavailable(
                "age-other-identity",
                "the entry is encrypted to another identity",
                "name that one in CREDHELPERS_AGE_IDENTITY, or `docker login` again",
            ) from None
        raise _damaged() from None
    return plain


def _damaged() -> Unavailable:
    return Unavailable(
        "age-damaged",
        "the entry in the embedded store is damaged",
        "`docker login` writes it anew, `docker logout` removes it",
    )


def _named_key(path: bytes) -> bytes:
    """The content of the file that `CREDHELPERS_AGE_IDENTITY` names: a private key, so held to ssh's rules."""
    if not path.startswith(b"/"):
        raise Unavailable(
            "age-identity-relative",
            "CREDHELPERS_AGE_IDENTITY is not an absolute path",
            "`export CREDHELPERS_AGE_IDENTITY=/the/whole/path`",
        )
    from credhelpers import files  # what a `get` by the store's own identity does not need

    try:
        content, status = files.read(path, _KEY_BYTES)
    except (IsADirectoryError, files.NotRegular):
        raise Unavailable(
            "age-identity-no-file",
            "CREDHELPERS_AGE_IDENTITY names no regular file",
            "`age-keygen -o FILE` makes an identity file",
        ) from None
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or "unusable path"
        raise Unavailable(
            "age-identity-unreadable",
            f"the identity that CREDHELPERS_AGE_IDENTITY names cannot be read: {reason}",
            '`ls -l "$CREDHELPERS_AGE_IDENTITY"` shows it',
        ) from None
    if not files.is_secret(status):
        raise Unavailable(
            "age-identity-exposed",
            "the identity that CREDHELPERS_AGE_IDENTITY names is open to other users",
            '`chmod 600 "$CREDHELPERS_AGE_IDENTITY"` and own it',
        )
    return content


def _identities(key: bytes) -> "list[Any]":
    """What decrypts. Raises Unavailable if `key` is not a key file that can be used without asking anybody."""
    import pyrage

    try:
        if key.startswith(b"-----BEGIN") and not key.startswith(_PROTECTED):
            if key.startswith(_SSH):
                _ssh_public(key)  # tells what is wrong more exactly
            return [pyrage.ssh.Identity.from_buffer(key)]
        return [pyrage.x25519.Identity.from_str(line.decode()) for line in _age_lines(key)]
    except (pyrage.IdentityError, UnicodeDecodeError):
        raise _unusable() from None


def _recipients(key: bytes) -> "list[Any]":
    """Whom to encrypt to, so that each identity in `key` decrypts it, as `age -e -i` does."""
    import pyrage

    if key.startswith(_SSH):
        kind, blob = _ssh_public(key)
        from binascii import b2a_base64

        try:
            public = kind.decode() + " " + b2a_base64(blob, newline=False).decode()
            return [pyrage.ssh.Recipient.from_str(public)]
        except (pyrage.RecipientError, UnicodeDecodeError):
            raise _unusable() from None
    if key.startswith(b"-----BEGIN RSA PRIVATE KEY-----"):
        raise Unavailable(
            "age-identity-old-format",
            "the ssh key that CREDHELPERS_AGE_IDENTITY names is in an old format",
            '`ssh-keygen -p -N "" -f "$CREDHELPERS_AGE_IDENTITY"` converts it',
        )
    return [identity.to_public() for identity in _identities(key)]


def _age_lines(key: bytes) -> list[bytes]:
    """The keys of an age identity file."""
    if key.startswith(_PROTECTED):
        raise _protected()
    lines = [line.strip() for line in key.split(b"\n")]
    keys = [line for line in lines if line and not line.startswith(b"#")]
    if not keys or not all(line.startswith(_KEY) for line in keys):
        raise _unusable()
    return keys


def _ssh_public(key: bytes) -> tuple[bytes, bytes]:
    """Kind and public part of an OpenSSH private key, which stand in clear in front of the private part."""
    from binascii import a2b_base64

    def string(start: int) -> tuple[bytes, int]:
        """The string of RFC 4251, 5 at `start`, and where it ends."""
        end = start + 4 + int.from_bytes(blob[start : start + 4], "big")
        if end > len(blob):
            raise ValueError
        return blob[start + 4 : end], end

    try:
        blob = a2b_base64(key.partition(_SSH)[2].partition(_SSH_END)[0])
        if not blob.startswith(_SSH_MAGIC):
            raise ValueError
        cipher, end = string(len(_SSH_MAGIC))
        _, end = string(end)
        _, end = string(end)
        public, _ = string(end + 4)  # past the number of keys, always 1
        kind = public[4 : 4 + int.from_bytes(public[:4], "big")]
    except ValueError:
        raise _unusable() from None
    if cipher != b"none":
        raise _protected()
    return kind, public


def _protected() -> Unavailable:
    return Unavailable(
        "age-identity-passphrase",
        "the identity of the embedded store is protected by a passphrase, and a helper cannot ask for it",
        "name one without: `age-keygen -o FILE` makes it",
    )


def _unusable() -> Unavailable:
    return Unavailable(
        "age-identity-malformed",
        "the identity of the embedded store is no age identity and no ssh-ed25519 or ssh-rsa private key",
        "`age-keygen -o FILE` makes one for CREDHELPERS_AGE_IDENTITY",
    )
