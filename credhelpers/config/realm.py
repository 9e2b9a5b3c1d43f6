"""What the configuration says of a registry's realm. No plan has it, since no hit needs it: the file is read for it."""

from credhelpers.config.lines import owners
from credhelpers.hosts import fits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from credhelpers.identity import Environment
    from credhelpers.servers import Authority


def realm(authority: "Authority", source: str, line: int, environ: "Environment") -> str:
    """`realm` of the source's entry in this line, by which a route to the authority is; "" for none, and for a rule's.

    Raises Unavailable as the plan does.
    """
    for entry in owners(environ).entries if line else []:
        is_this = (entry.source, entry.line, entry.is_last) == (source, line, False)
        if is_this and fits(entry.pattern, authority.name):
            return entry.realm
    return ""
