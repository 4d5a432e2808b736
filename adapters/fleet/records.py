"""Records to the control plane, in acknowledged batches on one stream."""

import asyncio
from collections.abc import Iterator

import grpc

from adapters.fleet.channel import Link
from core.call import RecordsAway
from toolgate.v1 import fleet_pb2 as pb
from toolgate.v1 import fleet_pb2_grpc as rpc

BATCH_BYTES = 768 * 1024
BATCH_RECORDS = 1_000
ACK_TIMEOUT_S = 15.0


class GrpcRecords:
    """A Records over gRPC. One batch is under way at a time; who ships meanwhile waits its turn."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._targets = link.in_turn()
        self._turn = asyncio.Lock()
        self._channel: grpc.aio.Channel | None = None
        self._call: grpc.aio.StreamStreamCall[pb.RecordBatch, pb.RecordAck] | None = None
        self._batch = 0

    async def ship(self, records: list[bytes]) -> None:
        """Returns once all are stored. Raises RecordsAway: some may be stored then; shipping them again is harmless."""
        async with self._turn:
            try:
                for batch in _batches(records):
                    await self._send(batch)
            except BaseException:
                await self._drop()
                raise

    async def close(self) -> None:
        async with self._turn:
            await self._drop()

    async def _send(self, records: list[bytes]) -> None:
        call = self._connected()
        self._batch += 1
        try:
            async with asyncio.timeout(ACK_TIMEOUT_S):
                await call.write(pb.RecordBatch(batch=self._batch, records=records))
                ack = await call.read()
        except TimeoutError as late:
            raise RecordsAway(f"no acknowledgement within {ACK_TIMEOUT_S:.0f} s") from late
        except grpc.aio.AioRpcError as failure:
            raise RecordsAway(f"{failure.code().name}: {failure.details()}") from failure
        except asyncio.InvalidStateError as over:
            raise RecordsAway("the stream is over") from over
        if ack is grpc.aio.EOF or ack.batch != self._batch:
            raise RecordsAway("the control plane closed the stream")

    def _connected(self) -> grpc.aio.StreamStreamCall[pb.RecordBatch, pb.RecordAck]:
        if self._call is None:
            self._channel = self._link.open(next(self._targets))
            self._call = rpc.FleetStub(self._channel).Ship(metadata=self._link.metadata)
        return self._call

    async def _drop(self) -> None:
        call, channel, self._call, self._channel = self._call, self._channel, None, None
        if call is not None:
            call.cancel()
        if channel is not None:
            await channel.close()


def _batches(records: list[bytes]) -> Iterator[list[bytes]]:
    """In order; each well below gRPC's message limit, a single larger record alone."""
    batch: list[bytes] = []
    size = 0
    for record in records:
        if batch and (size + len(record) > BATCH_BYTES or len(batch) >= BATCH_RECORDS):
            yield batch
            batch, size = [], 0
        batch.append(record)
        size += len(record)
    if batch:
        yield batch
