"""A storage behind a server: Optuna's gRPC proxy, with what it lacks: signs of life, and turns.

`seqboat storage serve` is the server, `grpc://host:port` the client. One server has one connection to its database, or
a few, where each of hundreds of workers would have its own.
"""

import json
import threading
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import grpc
from optuna.storages import GrpcStorageProxy
from optuna.storages._grpc.auto_generated import api_pb2_grpc
from optuna.storages._grpc.client import GrpcClientCache
from optuna.storages._grpc.servicer import OptunaStorageProxyService
from optuna.storages._heartbeat import BaseHeartbeat

from seqboat_lab.sweep.study import patient
from seqboat_lab.sweep.study.patient import Patient, patiently

SERVICE = "seqboat.Storage"
MOST_THREADS = 4096  # one for each call under way, and those that wait for their turn are calls
KEEPALIVE = [("grpc.keepalive_time_ms", 30_000), ("grpc.keepalive_timeout_ms", 10_000)]
"""A machine that lost its power says no goodbye."""
CLIENT = [*KEEPALIVE, ("grpc.max_receive_message_length", -1), ("grpc.min_reconnect_backoff_ms", 200),
          ("grpc.initial_reconnect_backoff_ms", 200), ("grpc.max_reconnect_backoff_ms", 2000)]  # fmt: skip
SERVER = [*KEEPALIVE, ("grpc.http2.min_ping_interval_without_data_ms", 10_000), ("grpc.max_receive_message_length", -1),
          ("grpc.so_reuseport", 0)]  # fmt: skip


class Served(GrpcStorageProxy, BaseHeartbeat):
    """A client."""

    def _setup(self) -> None:
        self._channel = grpc.insecure_channel(f"{self._host}:{self._port}", options=CLIENT)
        self._stub = api_pb2_grpc.StorageServiceStub(self._channel)
        self._cache = GrpcClientCache(self._stub)
        self._beat = self._channel.unary_unary(f"/{SERVICE}/Beat")
        self._stale = self._channel.unary_unary(f"/{SERVICE}/Stale")
        self._turn = self._channel.unary_stream(f"/{SERVICE}/Turn")

    def record_heartbeat(self, trial_id: int) -> None:
        self._beat(json.dumps(trial_id).encode())

    def _get_stale_trial_ids(self, study_id: int) -> list[int]:
        return json.loads(self._stale(json.dumps(study_id).encode()))

    def get_heartbeat_interval(self) -> int | None:
        return patient.HEARTBEAT_SECONDS

    def get_heartbeat_stale_trial_callback(self) -> None:
        return None

    @contextmanager
    def excluding(self, name: str) -> Iterator[None]:
        turn = self._turn(name.encode())
        try:
            next(turn)
            yield
        finally:
            turn.cancel()


class _Handler(grpc.GenericRpcHandler):
    def __init__(self, storage: Patient):
        self.storage = storage
        self.locks: dict[str, threading.Lock] = defaultdict(threading.Lock)
        self.handlers = {
            f"/{SERVICE}/Beat": grpc.unary_unary_rpc_method_handler(self.beat),
            f"/{SERVICE}/Stale": grpc.unary_unary_rpc_method_handler(self.stale),
            f"/{SERVICE}/Turn": grpc.unary_stream_rpc_method_handler(self.turn),
        }

    def service(self, handler_call_details: Any) -> Any:
        return self.handlers.get(handler_call_details.method)

    def beat(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.storage.record_heartbeat(json.loads(request))
        return b""

    def stale(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        return json.dumps(self.storage._get_stale_trial_ids(json.loads(request))).encode()

    def turn(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        """Says so when it is the client's turn, which lasts until it ends the call, or goes away."""
        name, ended = request.decode(), threading.Event()
        if not context.add_callback(ended.set):
            return
        with self.locks[name]:  # of those that wait here one asks the database
            if ended.is_set():
                return
            with ExitStack() as stack:
                turn = lambda: stack.enter_context(self.storage.excluding(name))  # noqa: E731
                patiently(turn, self.storage.patience)
                yield b"yours"
                ended.wait()


def make_server(storage: Patient, host: str, port: int) -> tuple[grpc.Server, int]:
    """A server that is not started yet, and its port: `port`, or a free one for 0. Raises `RuntimeError` if the port
    is taken."""
    server = grpc.server(ThreadPoolExecutor(max_workers=MOST_THREADS), options=SERVER)
    api_pb2_grpc.add_StorageServiceServicer_to_server(OptunaStorageProxyService(storage), server)
    server.add_generic_rpc_handlers((_Handler(storage),))
    return server, server.add_insecure_port(f"{host}:{port}")
