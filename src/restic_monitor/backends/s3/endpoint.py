"""Which host is asked, with the bucket in its name or in the path, and in which region.

Source: restic's internal/backend/s3 and minio-go's pkg/s3utils (look-up style, regions out of Amazon's host names).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

from msgspec import Struct

from restic_monitor.location import S3, plain_host

DEFAULT_REGION = "us-east-1"
LOOKUPS = ("auto", "dns", "path")

# s3.amazonaws.com, s3-eu-west-1.…, s3.eu-west-1.…, s3.dualstack.eu-west-1.…, s3-fips.us-gov-west-1.…, s3.cn-north-1.….cn
_AMAZON = re.compile(r"s3(?P<fips>-fips)?(?:[.-]dualstack)?(?:[.-](?P<region>[a-z0-9-]+))?\.amazonaws\.com(?P<china>\.cn)?")
_BUCKET_IN_HOST = re.compile(r"storage\.googleapis\.com|oss-[a-z0-9-]+\.aliyuncs\.com")


class Endpoint(Struct, frozen=True):
    """`host` with its port, unless that is the one of its scheme: so it is sent and signed. `region` is the one to
    begin with; `amazon`: each region has a host of its own."""

    host: str
    encrypted: bool
    region: str
    bucket_in_host: bool = False
    amazon: bool = False

    @property
    def scheme(self) -> str:
        return "https" if self.encrypted else "http"

    def target(self, bucket: str, key: str, region: str) -> tuple[str, str]:
        """Host and path of a request, the path percent-encoded as signatures want it."""
        host = self._regional(region)
        path = _quoted(f"/{key}", "/~")
        return (f"{bucket}.{host}", path) if self.bucket_in_host else (host, f"/{_quoted(bucket, '~')}{path.rstrip('/')}")

    def _regional(self, region: str) -> str:
        found = _AMAZON.fullmatch(self.host)
        if not found or region == (found["region"] or DEFAULT_REGION) or found["region"] == "external-1":
            return self.host
        return f"s3{found['fips'] or ''}.dualstack.{region}.amazonaws.com{found['china'] or ''}"


def _quoted(text: str, safe: str) -> str:
    return quote(text, safe=safe, errors="surrogateescape")


def endpoint(place: S3, options: Mapping[str, str], environment: Mapping[str, str]) -> Endpoint:
    """`options` are restic's `-o s3.…`. Raises ValueError for a look-up style that does not exist."""
    host = plain_host(place.endpoint, encrypted=place.encrypted)
    amazon = _AMAZON.fullmatch(host)
    in_name = (amazon["region"] or "") if amazon else ""
    named = "" if in_name == "external-1" else in_name
    region = options.get("s3.region") or environment.get("AWS_DEFAULT_REGION") or named or DEFAULT_REGION
    lookup = options.get("s3.bucket-lookup") or "auto"
    if lookup not in LOOKUPS:
        raise ValueError(f"s3.bucket-lookup is {lookup!r}; it can be {', '.join(LOOKUPS)}")
    likes_it = bool(amazon or _BUCKET_IN_HOST.fullmatch(host)) and not (place.encrypted and "." in place.bucket)
    return Endpoint(host, place.encrypted, region, lookup == "dns" or (lookup == "auto" and likes_it), bool(amazon))
