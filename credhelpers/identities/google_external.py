"""Workload identity federation by google-auth: the identity of AWS's, a program's, a file's or a URL's.

Of the environment of this process google-auth reads AWS's keys and region, and whether a program may run, and it runs
that program itself. Here it gets them as values, and `net.child` runs the program.
"""

import json
import os
from shlex import split
from time import monotonic
from typing import Any

from google.auth import aws, pluggable
from google.auth.exceptions import RefreshError

from credhelpers import files
from credhelpers.net import child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from credhelpers.identity import Environment

_FILE_BYTES = 1 << 20


def of_aws(environ: "Environment") -> "type[aws.Credentials]":
    """google-auth's class for an identity of AWS's, which is that of this environment or of the metadata service."""

    def variable(name: bytes) -> str:
        return environ.get(name, b"").decode("ascii", "replace")

    class Supplier(aws._DefaultAwsSecurityCredentialsSupplier):  # type: ignore[misc] # noqa: SLF001 - all but variables
        def get_aws_security_credentials(self, context: object, request: object) -> "Any":  # noqa: ARG002 - google-auth's
            key, secret = variable(b"AWS_ACCESS_KEY_ID"), variable(b"AWS_SECRET_ACCESS_KEY")
            if key and secret:
                return aws.AwsSecurityCredentials(key, secret, variable(b"AWS_SESSION_TOKEN") or None)
            session = self._get_imdsv2_session_token(request)
            role = self._get_metadata_role_name(request, session)
            found = self._get_metadata_security_credentials(request, role, session)
            return aws.AwsSecurityCredentials(*map(found.get, ("AccessKeyId", "SecretAccessKey", "Token")))

        def get_aws_region(self, context: object, request: "Callable[..., Any]") -> str:  # noqa: ARG002 - google-auth's
            if said := variable(b"AWS_REGION") or variable(b"AWS_DEFAULT_REGION"):
                return said
            if not self._region_url:
                raise RefreshError
            session = self._get_imdsv2_session_token(request)
            headers = {"X-aws-ec2-metadata-token": session} if session else None
            answer = request(self._region_url, "GET", headers=headers)
            if answer.status != 200:  # noqa: PLR2004 - RFC 9110
                raise RefreshError
            return str(answer.data.decode("ascii")[:-1])  # it is a zone, as `eu-west-1a`

    class Credentials(aws.Credentials):  # type: ignore[misc]
        def __init__(self, *words: object, **options: "Any") -> None:
            super().__init__(*words, **options)
            self._aws_security_credentials_supplier = Supplier(self._credential_source)

    return Credentials


def of_program(environ: "Environment", until: float) -> "type[pluggable.Credentials]":
    """google-auth's class for a program that gives the token, which must be allowed to run; all ends at `until`.

    google.aip.dev/auth/4117, "Determining the subject token in executable-sourced credentials".
    """

    class Credentials(pluggable.Credentials):  # type: ignore[misc]
        def retrieve_subject_token(self, request: object) -> "Any":  # noqa: ARG002 - google-auth's
            if (kept := self._kept()) is not None:
                try:
                    token = self._parse_subject_token(kept)
                    if "expiration_time" in kept:  # without one nobody knows whether it is over
                        return token
                except RefreshError:  # it is over, or none
                    pass
            more: dict[str, str] = {"GOOGLE_EXTERNAL_ACCOUNT_REVOKE": "0"}
            self._inject_env_variables(more)
            status, output, _ = child.run_command(
                split(self._credential_source_executable_command),
                environ,
                {os.fsencode(name): os.fsencode(value) for name, value in more.items()},
                min(self._credential_source_executable_timeout_millis / 1000, until - monotonic()),
                is_one_stream=True,
            )
            if status:
                raise RefreshError
            return self._parse_subject_token(json.loads(child.after_warnings(output)) if output else self._kept())

        def _kept(self) -> "Any":
            """What the program has kept in its file, None if it keeps nothing or that cannot be read."""
            path = self._credential_source_executable_output_file
            try:
                return json.loads(files.read(path, _FILE_BYTES)[0]) if path else None
            except (OSError, ValueError, RecursionError):
                return None

    return Credentials
