"""The registries of Amazon ECR, private and public, by their hosts.

Forms as in amazon-ecr-credential-helper 0.12 and the kubelet's provider: partition, FIPS, dual-stack. Domains as in
botocore's partitions.json. This module is on the way of a cache hit.
"""

from credhelpers.errors import NotMine
from credhelpers.hosts import fields

# What a region of each partition begins with, from `regionRegex` of partitions.json, where the first partition is left
# open for geographies to come: any two letters but those of others. What follows is always a word and a number. So a
# host cannot name a region of another partition, or an S3 bucket (`s3-us-west-2`) where a region belongs. `clouds.aws`
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
_PUBLIC = ("public.ecr.aws", "ecr-public.aws.com")


class EcrHost:
    """What the name of an ECR registry says: everything that selects an API endpoint."""

    __slots__ = ("account", "dual_stack", "fips", "partition", "public", "region")

    def __init__(  # noqa: PLR0913 - one argument a fact
        self, partition: str, region: str, account: str, *, fips: bool, dual_stack: bool, public: bool
    ) -> None:
        self.partition = partition
        self.region = region
        self.account = account
        self.fips = fips
        self.dual_stack = dual_stack
        self.public = public


def ecr(host: str) -> EcrHost:
    """Read the host of a private or public ECR registry. Raises NotMine for any other."""
    if host in _PUBLIC:
        # The public registry's API answers in us-east-1 only, to credentials of the commercial partition only.
        return EcrHost("aws", "us-east-1", "", fips=False, dual_stack=host == "ecr-public.aws.com", public=True)
    for form, partition, fips, dual_stack in _FORMS:
        found = fields(_pattern(form, partition), host)
        if found:
            return EcrHost(partition, found["region"], found["account"], fips=fips, dual_stack=dual_stack, public=False)
    raise NotMine


def ecr_of(account: str, region: str) -> EcrHost:
    """What the plain host of this account and region would say. Raises NotMine if no partition has such a region."""
    for form, partition, fips, dual_stack in _FORMS:
        host = form.replace("<account:12digits>", account).replace("<region>", region)
        if not fips and not dual_stack and fields(_pattern(form, partition), host):
            return EcrHost(partition, region, account, fips=False, dual_stack=False, public=False)
    raise NotMine


def _pattern(form: str, partition: str) -> str:
    return form.replace("<region>", f"<region:region {_REGIONS[partition]}>")
