"""One client's HTTP: a kept connection and cookies. Lean, because it shares the machine with what is measured."""

from __future__ import annotations

import http.client
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from lagless.demo.cookies import Jar

if TYPE_CHECKING:
    from email.message import Message

TIMEOUT = 15.0  # seconds; a page that takes longer is an error


@dataclass(frozen=True, slots=True)
class Response:
    """What came back, and when; status 0 and an `error` when nothing did."""

    started: float
    ended: float
    status: int
    headers: Message
    body: str
    error: str = ""


class Browser:
    """Sends requests to one site, remembers its cookies and follows no redirect by itself."""

    def __init__(self, host: str, port: int) -> None:
        self.jar = Jar()
        self._connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT)

    def get(self, path: str) -> Response:
        """Ask for a page."""
        return self._send("GET", path, None)

    def post(self, path: str, **form: str) -> Response:
        """Send a form, with the token that proves it came from a page of the site."""
        return self._send("POST", path, urlencode(form | {"csrfmiddlewaretoken": self.jar.get("csrftoken")}))

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def _send(self, method: str, path: str, body: str | None) -> Response:
        started = time.monotonic()
        try:
            self._connection.request(method, path, body, self._headers(body, started))
            answer = self._connection.getresponse()
            text = answer.read().decode()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()  # the next request opens it again
            return Response(started, time.monotonic(), 0, http.client.HTTPMessage(), "", error=repr(error))
        ended = time.monotonic()
        self.jar.update(answer.headers.get_all("Set-Cookie", []), ended)
        return Response(started, ended, answer.status, answer.headers, text)

    def _headers(self, body: str | None, now: float) -> dict[str, str]:
        headers = {"Cookie": self.jar.header(now)}
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        return headers
