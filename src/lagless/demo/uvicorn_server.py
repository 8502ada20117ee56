"""Runs uvicorn with Nagle's algorithm off: `python -m lagless.demo.uvicorn_server` takes uvicorn's own arguments.

With several workers uvicorn leaves it on, and each answer, which it sends in two parts, waits 40 ms for the visitor's
acknowledgement of the first.
"""

from __future__ import annotations

import socket

import uvicorn
from uvicorn import Config

_bind = Config.bind_socket


def bind_without_delay(config: Config) -> socket.socket:
    """Bind as uvicorn does; what is accepted inherits the option."""
    listener = _bind(config)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


if __name__ == "__main__":
    Config.bind_socket = bind_without_delay  # type: ignore[assignment, method-assign]
    uvicorn.main()
