"""A local service: models by name over HTTP, by the Open Inference Protocol v2, on Starlette and uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import importlib.metadata
import ipaddress
import socket
import threading
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from infer.errors import DependencyError, InferError, OptionError
from infer.hosts.offered import VERSION, Offered
from infer.hosts.open_inference import (
    BINARY_EXTENSION,
    JSON_SIZE_HEADER,
    RequestError,
    describe_model,
    expand,
    read_request,
    to_json,
    too_big,
    write_response,
)

try:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.middleware import Middleware
    from starlette.requests import ClientDisconnect, Request
    from starlette.responses import Response, StreamingResponse
    from starlette.routing import Route
    from starlette.types import ASGIApp, Receive, Scope, Send
except ImportError as error:
    raise DependencyError('The service needs Starlette and uvicorn: `pip install "facies-edge[serve]"`.') from error

MAX_REQUEST_MB = 64.0
"""Sixteen million samples. While it is classified, a request takes up to some thirty times its size in memory."""
CONCURRENCY = 2
"""Requests worked on at a time. Each uses all cores, so more of them only hide what is not computing."""
WAITING = 4
"""How many requests may wait, to each that is worked on."""

_MODEL_PATHS = "/v2/models/{model}", "/v2/models/{model}/versions/{version}"
_TRANSFER_SECONDS = 300  # for a request to arrive, and for its answer to be fetched
_DISCARD_SECONDS = 20  # for the rest of a request that was refused
_SHUTDOWN_SECONDS = 5
_PIECE = 1 << 20  # bytes handed to the socket at a time: no more of a response waits there for a slow client


def create_app(
    offered: Iterable[Offered],
    *,
    token: str | None = None,
    max_request_mb: float = MAX_REQUEST_MB,
    concurrency: int = CONCURRENCY,
) -> Starlette:
    """The ASGI application that offers these models.

    token: what clients must send as `Authorization: Bearer TOKEN`, if anything.

    Raises OptionError: an empty token, or a limit that lets nothing through.
    """
    if token is not None and token.split() != [token]:
        raise OptionError("A token is one word of letters and signs that nobody guesses, without spaces.")
    if not 0 < max_request_mb < float("inf") or concurrency < 1:
        raise OptionError(
            f"A service that takes requests of {max_request_mb:g} MB, {concurrency} at a time, answers nothing."
        )
    models = {one.name: one for one in offered}
    return Starlette(
        routes=[*_Metadata(models).routes(), *_Inference(models, int(max_request_mb * 1e6), concurrency).routes()],
        middleware=[Middleware(_TokenCheck, token.encode())] if token is not None else [],
        exception_handlers={RequestError: _refuse_get, HTTPException: _no_such_thing, Exception: _own_fault},
    )


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0 is any free one.

    Raises OptionError: it cannot, since the port is taken, say, or the host is no address.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except UnicodeError as error:  # of a name that no address can have
        raise OptionError(f"{host} is no address that can be listened at. Choose another --host.") from error
    except OSError as error:
        reason = str(error.strerror).split(" (while")[0]  # Python repeats the address
        raise OptionError(
            f"Port {port} of {host} cannot be listened at: {reason}. Choose another --port or --host."
        ) from error


def serve(app: ASGIApp, listening: socket.socket) -> None:
    """Answer until Ctrl-C. What is being worked on then has five seconds to end."""
    server(app).run([listening])


def server(app: ASGIApp) -> uvicorn.Server:
    """What runs the application: uvicorn without a word but on faults."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
        )
    )


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine can reach that address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Metadata:
    """Says what there is: all that is not to infer."""

    def __init__(self, models: dict[str, Offered]) -> None:
        self._models = models

    def routes(self) -> list[Route]:
        return [
            Route("/v2", self._server),
            Route("/v2/health/live", self._health),
            Route("/v2/health/ready", self._health),
            *(Route(path, self._model) for path in _MODEL_PATHS),
            *(Route(f"{path}/ready", self._model_ready) for path in _MODEL_PATHS),
        ]

    async def _server(self, _request: Request) -> Response:
        version = importlib.metadata.version("facies-edge")
        return _json({"name": "facies-edge", "version": version, "extensions": [BINARY_EXTENSION]})

    async def _health(self, request: Request) -> Response:
        """Models are loaded before the service listens, so it is ready as soon as it lives."""
        return _json({request.url.path.rsplit("/", 1)[1]: True})

    async def _model(self, request: Request) -> Response:
        one = _find(self._models, request)
        return _json(describe_model(one.name, VERSION, one.inputs, one.outputs))

    async def _model_ready(self, request: Request) -> Response:
        return _json({"name": _find(self._models, request).name, "ready": True})


class _Inference:
    """Answers requests to infer: a bounded number at a time, in threads, the others waiting in the order they came."""

    def __init__(self, models: dict[str, Offered], most: int, concurrency: int) -> None:
        self._models, self._most = models, most
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="infer-serve")
        self._places = concurrency * (1 + WAITING)
        self._inside = 0  # requests between their first byte and the last of their answer

    def routes(self) -> list[Route]:
        return [Route(f"{path}/infer", self, methods=["POST"]) for path in _MODEL_PATHS]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request, response = Request(scope, receive), None
        try:
            with self._place():
                response = await self._respond(request)
                await asyncio.wait_for(response(scope, receive, send), _TRANSFER_SECONDS)
        except RequestError as error:
            await (await _refuse(request, error))(scope, receive, send)
        except (ClientDisconnect, asyncio.TimeoutError):  # nobody listens, or too slowly: uvicorn closes the connection
            return
        except asyncio.CancelledError:  # the service ends, and uvicorn would show every request as a fault
            if response is None:
                await _error("The service was stopped before it had the answer.", 503)(scope, receive, send)

    @contextlib.contextmanager
    def _place(self) -> Iterator[None]:
        if self._inside >= self._places:
            raise RequestError(
                f"The service has {self._inside} requests to answer, and takes no more now: try again later.", 503
            )
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1

    async def _respond(self, request: Request) -> Response:
        """Raises RequestError, ClientDisconnect."""
        one = _find(self._models, request)
        try:
            body = await asyncio.wait_for(self._body(request), _TRANSFER_SECONDS)
        except asyncio.TimeoutError:
            raise RequestError(f"The request did not arrive within {_TRANSFER_SECONDS} s.", 408) from None
        cancel = threading.Event()
        working: asyncio.Future[Any] = asyncio.wrap_future(self._pool.submit(self._work, one, body, request, cancel))
        leaving: asyncio.Future[Any] = asyncio.ensure_future(_leaving(request))
        try:
            await asyncio.wait([working, leaving], return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise ClientDisconnect
            response: Response = working.result()
            return response
        finally:
            cancel.set()
            working.cancel()
            leaving.cancel()

    async def _body(self, request: Request) -> bytearray:
        if int(request.headers.get("Content-Length", 0)) > self._most:
            raise RequestError(too_big(self._most), 413)
        body = bytearray()
        async for chunk in request.stream():
            if len(body) + len(chunk) > self._most:
                raise RequestError(too_big(self._most), 413)
            body += chunk
        return body

    def _work(self, one: Offered, body: bytearray, request: Request, cancel: threading.Event) -> Response:
        """The whole of the work on a request, in a thread of the pool."""
        try:
            plain = expand(body, request.headers.get("Content-Encoding"), self._most)
            asked = read_request(plain, request.headers.get(JSON_SIZE_HEADER), one.inputs, one.outputs)
            message, raw = write_response(one.name, VERSION, asked, one.answer(asked.inputs, cancel))
        except RequestError:
            raise
        except InferError as error:
            raise RequestError(str(error), 400 if isinstance(error, OptionError) else 500) from error
        except MemoryError as error:
            raise RequestError("There is not enough memory for this request: a smaller one takes less.", 500) from error
        if not raw:
            return Response(message, media_type="application/json")
        views = [memoryview(message), *(array.reshape(-1).view(np.uint8).data for array in raw)]
        headers = {JSON_SIZE_HEADER: str(len(message)), "Content-Length": str(sum(map(len, views)))}
        return StreamingResponse(_pieces(views), headers=headers, media_type="application/octet-stream")


class _TokenCheck:
    """Lets through what has the token."""

    def __init__(self, app: ASGIApp, token: bytes) -> None:
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scheme, _, given = dict(scope["headers"]).get(b"authorization", b"").partition(b" ")
        if scheme.lower() == b"bearer" and hmac.compare_digest(given.strip(), self._token):
            await self._app(scope, receive, send)
            return
        refusal = RequestError("This service asks for its token, as `Authorization: Bearer TOKEN`.", 401)
        await (await _refuse(Request(scope, receive), refusal))(scope, receive, send)


def _find(models: dict[str, Offered], request: Request) -> Offered:
    name, version = request.path_params["model"], request.path_params.get("version", VERSION)
    if name not in models:
        raise RequestError(f"There is no model '{name[:60]}' here: there is {', '.join(models)}.", 404)
    if version != VERSION:
        raise RequestError(f"There is no version '{version[:60]}' of {name}: there is {VERSION}.", 404)
    return models[name]


async def _leaving(request: Request) -> None:
    """Returns when the client of a request that has arrived goes away."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _pieces(views: list[memoryview]) -> AsyncIterator[memoryview]:
    for view in views:
        for start in range(0, len(view), _PIECE):
            yield view[start : start + _PIECE]


async def _refuse(request: Request, error: RequestError) -> Response:
    """The answer to a request that is not answered; sent after all of it arrived, since clients listen no sooner."""

    async def discard() -> None:
        async for _ in request.stream():
            pass

    with contextlib.suppress(RuntimeError, ClientDisconnect, asyncio.TimeoutError):  # RuntimeError: it has arrived
        await asyncio.wait_for(discard(), _DISCARD_SECONDS)
    return _error(str(error), error.status)


async def _refuse_get(_request: Request, error: Exception) -> Response:
    return _error(str(error), error.status if isinstance(error, RequestError) else 500)


async def _no_such_thing(request: Request, error: Exception) -> Response:
    status, headers = (error.status_code, error.headers) if isinstance(error, HTTPException) else (500, None)
    here = "/v2, /v2/health/live, /v2/health/ready and, of a model, /v2/models/NAME, …/ready and …/infer (POST)"
    sentence = f"{request.method} {request.url.path[:60]} is nothing that is here: there is {here}."
    return _error(sentence, status, headers)


async def _own_fault(_request: Request, _fault: Exception) -> Response:
    return _error("The service has a fault, which its own screen shows.", 500)


def _error(sentence: str, status: int, headers: Mapping[str, str] | None = None) -> Response:
    own = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": "1"}}.get(status, {})
    return _json({"error": sentence}, status, {**own, **(headers or {})})


def _json(message: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(to_json(message), status, headers, "application/json")
