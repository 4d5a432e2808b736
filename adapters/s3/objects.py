"""Objects in an S3-compatible store. Credentials come as the AWS libraries find them: environment, files, instance."""

import asyncio
from collections.abc import Callable
from typing import Protocol, TypeVar

from core.objects import NAME, ObjectsAway

CONNECT_S = 5.0
READ_S = 30.0
TRIES = 3
POOL = 8

Answer = TypeVar("Answer")


class _Body(Protocol):
    def read(self) -> bytes: ...


class S3Objects:
    """An Objects. Calls run in threads, as the library blocks."""

    def __init__(self, bucket: str, prefix: str = "", endpoint: str = "", region: str = "") -> None:
        """`endpoint`: URL of a store that is not AWS. Raises OSError where `boto3` is not installed."""
        try:
            import boto3
            from botocore.config import Config
        except ImportError as missing:
            raise OSError("objects in S3 need boto3: pip install 'toolgate[s3]'") from missing

        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._client = boto3.client(
            "s3",
            endpoint_url=endpoint or None,
            region_name=region or None,
            config=Config(
                connect_timeout=CONNECT_S,
                read_timeout=READ_S,
                retries={"total_max_attempts": TRIES, "mode": "standard"},
                max_pool_connections=POOL,
                # Names in the path, and no checksums of AWS's own: what every compatible store understands.
                s3={"addressing_style": "path" if endpoint else "auto"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    async def put(self, name: str, data: bytes) -> None:
        key = self._key(name)
        await self._asked(name, lambda: self._client.put_object(Bucket=self._bucket, Key=key, Body=data))

    async def get(self, name: str) -> bytes | None:
        key = self._key(name)

        def read() -> bytes | None:
            try:
                body: _Body = self._client.get_object(Bucket=self._bucket, Key=key)["Body"]
            except self._client.exceptions.NoSuchKey:
                return None
            return body.read()

        return await self._asked(name, read)

    async def delete(self, name: str) -> None:
        key = self._key(name)
        await self._asked(name, lambda: self._client.delete_object(Bucket=self._bucket, Key=key))

    def _key(self, name: str) -> str:
        if not NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of an object")
        return self._prefix + name

    async def _asked(self, name: str, ask: Callable[[], Answer]) -> Answer:
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

        try:
            return await asyncio.to_thread(ask)
        except ClientError as refused:
            error = refused.response.get("Error", {})
            raise ObjectsAway(f"{name}: {error.get('Code', 'refused')}") from refused
        except (BotoCoreError, HTTPClientError) as failure:
            raise ObjectsAway(f"{name}: {type(failure).__name__}") from failure
