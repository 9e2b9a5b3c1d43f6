"""A user name and a secret, in the form in which they go over the wire."""

INFINITY = float("inf")
LITTLE = 600.0  # seconds that are left of what is nearly over, see `lifetimes`, which a hit does not load


class Credential:
    """A credential that cannot be printed by accident.

    It holds the bytes of the wire from the user name on: the answer of the protocol is
    `{"ServerURL":"…"` followed by these, so what a cache or a store kept is answered without being parsed.
    Times are seconds since the epoch; a credential that does not age has them at infinity.

    expires: from here on it is refused by the registry, or too close to that to hand out.
    hard:    from here on a new one must be tried first; this one answers only if that fails.
    soft:    from here on it is renewed in the background.
    low:     from here on so little is left of it that a new one is awaited for a moment; 0 where nobody has said that,
             see `is_low`, and `expires` where it need never be.

    memo is what its source must know to renew or end it: words in ASCII on one line, none of them secret.
    """

    __slots__ = ("_tail", "expires", "hard", "low", "memo", "soft")

    def __init__(  # noqa: PLR0913 - one argument a fact
        self,
        username: str,
        secret: str,
        *,
        soft: float = INFINITY,
        hard: float = INFINITY,
        expires: float = INFINITY,
        low: float = 0.0,
        memo: str = "",
    ) -> None:
        from _json import encode_basestring_ascii as quoted  # `json` costs as much as the whole interpreter

        self._tail = f',"Username":{quoted(username)},"Secret":{quoted(secret)}}}\n'.encode("ascii")
        self.soft = soft
        self.hard = hard
        self.expires = expires
        self.low = low
        self.memo = memo

    @classmethod
    def sealed(  # noqa: PLR0913 - as above
        cls,
        tail: bytes,
        *,
        soft: float = INFINITY,
        hard: float = INFINITY,
        expires: float = INFINITY,
        low: float = 0.0,
        memo: str = "",
    ) -> "Credential":
        """A credential from bytes that `tail` gave earlier. Raises ValueError if they cannot be such."""
        # The quotes of a user name or secret are escaped, so the middle cannot be in one.
        if not (
            tail.startswith(b',"Username":"') and b'","Secret":"' in tail and tail.endswith(b'"}\n') and tail.isascii()
        ):
            raise ValueError("not a sealed credential")
        self = cls.__new__(cls)
        self._tail = tail
        self.soft = soft
        self.hard = hard
        self.expires = expires
        self.low = low
        self.memo = memo
        return self

    def tail(self) -> bytes:
        """The secret, for a cache or a store to keep: what follows the server in an answer."""
        return self._tail

    def answer(self, server: str) -> bytes:
        """The secret, for the client: one JSON object in ASCII and a newline, the server as it was asked.

        `server` comes from `servers.read`, which lets nothing through that JSON would have to escape.
        """
        return b'{"ServerURL":"' + server.encode("ascii") + b'"' + self._tail

    @classmethod
    def answered(cls, server: str, line: bytes) -> "Credential":
        """The credential of which `answer` gave this line for exactly this server. Raises ValueError if it did not."""
        start = b'{"ServerURL":"' + server.encode("ascii") + b'"'
        if not line.startswith(start):
            raise ValueError("not an answer for this server")
        return cls.sealed(line[len(start) :])

    def expose(self) -> tuple[str, str]:
        """The user name and the secret in clear."""
        import json  # only where a store needs the parts

        parts = json.loads(b"{" + self._tail[1:])
        return parts["Username"], parts["Secret"]

    def is_empty(self) -> bool:
        """Whether the secret is empty."""
        return self._tail.endswith(b',"Secret":""}\n')

    def is_low(self, now: float) -> bool:
        """Whether it is nearly over. What is tried no earlier than it ends is not: such an end is no end of it."""
        if self.low:
            return now >= self.low
        return self.hard < self.expires <= now + LITTLE

    @property
    def username(self) -> str:
        """The user name."""
        return self.expose()[0]

    def __repr__(self) -> str:
        return "Credential(…)"

    def __reduce__(self) -> str:
        raise TypeError("a credential is not pickled")
