"""The registries of Amazon ECR, private and public, by their hosts.

Forms as in amazon-ecr-credential-helper 0.12 and the kubelet's provider: partition, FIPS, dual-stack. Domains as in
botocore's partitions.json.
"""

from credhelpers.errors import NotMine
from credhelpers.hosts import fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# What a region of each partition begins with, from `regionRegex` of partitions.json, where the first partition is left
# open for geographies to come: any two letters but those of others. What follows is always a word and a number. So a
# host cannot name a region of another partition, or an S3 bucket (`s3-us-west-2`) where a region belongs. The exchange
# checks the region against botocore's own table before anything is signed.
_REGIONS = {
    "aws": "!cn-",
    "aws-us-gov": "us-gov-",
    "aws-cn": "cn-",
    "aws-eusc": "eusc-de-",
    "aws-iso": "us-iso-",
    "aws-iso-b": "us-isob-",
    "aws-iso-e": "eu-isoe-",
    "aws-iso-f": "us-isof-",
}
# By pattern, in which `<region>` stands for the grammar of the partition: partition, FIPS, dual-stack.
_FORMS = (
    ("<account:12digits>.dkr.ecr.<region>.amazonaws.com", "aws", False, False),
    ("<account:12digits>.dkr.ecr-fips.<region>.amazonaws.com", "aws", True, False),
    ("<account:12digits>.dkr-ecr.<region>.on.aws", "aws", False, True),
    ("<account:12digits>.dkr-ecr-fips.<region>.on.aws", "aws", True, True),
    ("<account:12digits>.dkr.ecr.<region>.amazonaws.com", "aws-us-gov", False, False),
    ("<account:12digits>.dkr.ecr-fips.<region>.amazonaws.com", "aws-us-gov", True, False),
    ("<account:12digits>.dkr-ecr.<region>.on.aws", "aws-us-gov", False, True),
    ("<account:12digits>.dkr-ecr-fips.<region>.on.aws", "aws-us-gov", True, True),
    ("<account:12digits>.dkr.ecr.<region>.amazonaws.com.cn", "aws-cn", False, False),
    ("<account:12digits>.dkr-ecr.<region>.on.amazonwebservices.com.cn", "aws-cn", False, True),
    ("<account:12digits>.dkr.ecr.<region>.on.amazonwebservices.com.cn", "aws-cn", False, True),
    ("<account:12digits>.dkr.ecr.<region>.amazonaws.eu", "aws-eusc", False, False),
    ("<account:12digits>.dkr.ecr.<region>.c2s.ic.gov", "aws-iso", False, False),
    ("<account:12digits>.dkr.ecr.<region>.sc2s.sgov.gov", "aws-iso-b", False, False),
    ("<account:12digits>.dkr.ecr.<region>.cloud.adc-e.uk", "aws-iso-e", False, False),
    ("<account:12digits>.dkr.ecr.<region>.csp.hci.ic.gov", "aws-iso-f", False, False),
)
# As `config.schema.Rule` has them. The public registry's API answers in us-east-1 only, to credentials of the
# commercial partition only.
_PUBLIC = {"partition": "aws", "region": "us-east-1", "account": "", "is_public": "yes"}
RULES = (
    *(
        (
            form.replace("<region>", f"<region:region {_REGIONS[partition]}>"),
            {"partition": partition} | ({"is_fips": "yes"} if fips else {}) | ({"is_dual": "yes"} if dual else {}),
            "",
        )
        for form, partition, fips, dual in _FORMS
    ),
    ("public.ecr.aws", _PUBLIC, ""),
    ("ecr-public.aws.com", _PUBLIC | {"is_dual": "yes"}, ""),
)


class EcrHost:
    """What the name of an ECR registry says, `said` as its rule has it: everything that selects an API endpoint."""

    __slots__ = ("account", "dual_stack", "fips", "partition", "public", "region")

    def __init__(self, said: "Mapping[str, str]") -> None:
        self.partition = said["partition"]
        self.region = said["region"]
        self.account = said["account"]
        self.fips = "is_fips" in said
        self.dual_stack = "is_dual" in said
        self.public = "is_public" in said


def ecr(host: str) -> EcrHost:
    """Read the host of a private or public ECR registry. Raises NotMine for any other."""
    for pattern, static, _ in RULES:
        found = fields(pattern, host)
        if found is not None:
            return EcrHost(static | found)
    raise NotMine


def ecr_of(account: str, region: str) -> EcrHost:
    """What the plain host of this account and region would say. Raises NotMine if no partition has such a region."""
    for (form, _, fips, dual), (pattern, static, _) in zip(_FORMS, RULES, strict=False):
        host = form.replace("<account:12digits>", account).replace("<region>", region)
        if not fips and not dual and (found := fields(pattern, host)):
            return EcrHost(static | found)
    raise NotMine
