"""AWS: Vault learns who we are by a request to STS that is signed here and sent by Vault.

developer.hashicorp.com/vault/docs/auth/aws, "IAM auth method"; /api-docs/auth/aws, "Login". hvac's own has one endpoint
built in, so a role in another partition could not log in with it.
"""

import json
from base64 import b64encode
from time import monotonic

from credhelpers.identities.aws_selectors import files, proofs
from credhelpers.vault.login import Method

TYPE_CHECKING = False
if TYPE_CHECKING:
    from credhelpers.identity import Environment
    from credhelpers.vault.connection import Connection
    from credhelpers.vault.login import Request, Settings

_SERVER_ID = "X-Vault-AWS-IAM-Server-ID"
_REGION = "us-east-1"  # that of the endpoint which Vault asks unless it is told otherwise


class Aws(Method):
    """See `Method`. Without a role it is the one that is called like the IAM role or user."""

    cloud = (b"AWS_",)
    refusals = (
        (
            (_SERVER_ID, _SERVER_ID.lower(), "X-Vault-Aws-Iam-Server-Id"),
            "vault-login-server-id",
            "vault wants another server id in the login by AWS",
            "set `server_id` to `iam_server_id_header_value` of `vault read {mount}/config/client`",
        ),
        (
            ("entry for role",),
            "vault-login-role-unknown",
            "vault has no such role for AWS",
            "`vault list {mount}/roles` shows which there are; set `role` to one of them",
        ),
        (
            ("does not belong to the role", "bound", "does not satisfy"),
            "vault-login-not-bound",
            "the role does not let this AWS identity in",
            "compare `vault read {mount}/role/{role}` with `aws sts get-caller-identity`",
        ),
        (
            ("upstream request", "STS", "sts", "Received error"),
            "vault-login-unverified",
            "vault could not verify the AWS identity at STS",
            "`sts_endpoint` of `vault read {mount}/config/client` must be that of `sts_region` or AWS_REGION here",
        ),
    )

    def files(self, environ: "Environment", settings: "Settings") -> list[bytes]:  # noqa: ARG002 - a method's signature
        """See `Method`."""
        return files(environ)

    def proofs(self, environ: "Environment", settings: "Settings") -> list[bytes]:  # noqa: ARG002 - a method's signature
        """See `Method`."""
        return proofs(environ)

    def request(self, environ: "Environment", settings: "Settings", connection: "Connection") -> "Request":
        """See `Method`."""
        from credhelpers.identities import aws

        region = settings.get("sts_region") or _region(environ)
        own = {_SERVER_ID: settings["server_id"]} if "server_id" in settings else {}
        left = connection.until - monotonic()
        signed = aws.caller_identity(region, settings.get("profile"), own, left, environ)
        headers = {name: [value] for name, value in signed.headers.items()}
        body = {
            "iam_http_request_method": "POST",
            "iam_request_url": _encoded(signed.url),
            "iam_request_body": _encoded(signed.body),
            "iam_request_headers": _encoded(json.dumps(headers)),
        }
        if "role" in settings:
            body["role"] = settings["role"]
        return "login", body


def _region(environ: "Environment") -> str:
    named = environ.get(b"AWS_REGION") or environ.get(b"AWS_DEFAULT_REGION") or b""
    return named.decode("ascii", "replace") or _REGION


def _encoded(text: str) -> str:
    return b64encode(text.encode()).decode()
