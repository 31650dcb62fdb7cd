"""What somebody would write with boto3: list each bucket's snapshots, read the newest, push. benchmarks/fast.py starts it.

One after the other, or with that many threads, which share one client and its connections.
"""

from __future__ import annotations

import importlib
import os
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.bare import BUCKET, TOKEN


def main() -> None:
    s3, kuma, repositories, at_once = map(int, sys.argv[1:])
    config = importlib.import_module("botocore.config").Config(max_pool_connections=at_once)
    endpoint = f"http://127.0.0.1:{s3}"
    client: Any = importlib.import_module("boto3").client("s3", endpoint_url=endpoint, region_name="us-east-1", config=config)

    def look(number: int) -> None:
        bucket = BUCKET.format(number)
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="snapshots/")
        newest = max((entry for page in pages for entry in page["Contents"]), key=lambda entry: entry["LastModified"])
        client.get_object(Bucket=bucket, Key=newest["Key"])["Body"].read()
        address = f"http://127.0.0.1:{kuma}/api/push/{TOKEN.format(number)}?status=up&msg=OK&ping=100"
        with urllib.request.urlopen(address) as answer:
            answer.read()

    with ThreadPoolExecutor(at_once) as threads:
        list(threads.map(look, range(repositories)))
    os._exit(0)


if __name__ == "__main__":
    main()
