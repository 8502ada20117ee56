"""One client's requests: each is followed to a page, judged, and written down."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lagless.demo import pages
from lagless.demo.judge import Finding, Memory
from lagless.demo.visits import Served, Visit

if TYPE_CHECKING:
    from lagless.demo.browser import Browser, Response
    from lagless.demo.pages import Page

_HOPS = 5
_OK, _REDIRECT, _NOT_FOUND = 200, 302, 404


class Reader:
    """A browser with somebody in front of it who remembers what they wrote and saw."""

    def __init__(self, number: int, name: str, browser: Browser) -> None:
        self.memory = Memory(name)
        self.visits: list[Visit] = []
        self._number = number
        self._browser = browser

    def get(self, path: str) -> Page | None:
        """Ask for a page, follow where it leads, and judge what is shown."""
        for _ in range(_HOPS):
            response = self._browser.get(path.partition("#")[0])
            if response.status != _REDIRECT:
                return self._shown(path, response)
            self._record("GET", path, response)
            path = response.headers["Location"]
        self._record("GET", path, response, error="redirects without end")
        return None

    def _shown(self, path: str, response: Response) -> Page | None:
        if response.status != _OK:
            self._record_failure("GET", path, response)
            return None
        page = pages.read(path, response.body)
        finding = self.memory.judge(page)
        self._record("GET", path, response, finding)
        if pages.LOGGED_IN in finding.stale:
            self.memory.logged_out()  # the site has taken the session's cookie away
        return page

    def post(self, path: str, **form: str) -> str | None:
        """Send a form; where the site leads to when it has taken it, else None."""
        response = self._browser.post(path, **form)
        if response.status == _OK:
            # Every form sent here is right, so the site did not find what makes it so: the account that was signed up.
            self._record("POST", path, response, Finding(stale=(pages.LOGGED_IN,)))
        elif response.status != _REDIRECT:
            self._record_failure("POST", path, response)
        else:
            self._record("POST", path, response)
            return self._accepted(response.headers["Location"])
        return None

    def _accepted(self, where: str) -> str | None:
        if not where.startswith("/login/"):
            return where
        self.get(where)  # the session was not found; this page shows it, and is judged
        return None

    def _record_failure(self, method: str, path: str, response: Response) -> None:
        """Something unexpected: if the site denies what this client knows to exist, that is an old answer."""
        denied = response.status == _NOT_FOUND
        finding = self.memory.missing(pages.subject(path)) if denied else Finding()
        known = bool(finding.stale or finding.backward)
        error = "" if known else response.error or f"status {response.status}"
        self._record(method, path, response, finding, error=error)

    def _record(
        self, method: str, path: str, response: Response, finding: Finding | None = None, *, error: str = ""
    ) -> None:
        finding = finding or Finding()
        headers = response.headers
        self.visits.append(
            Visit(
                client=self._number,
                method=method,
                path=path,
                started=response.started,
                ended=response.ended,
                status=response.status,
                error=error,
                stale=finding.stale,
                backward=finding.backward,
                served=Served.parse(headers.get("Demo-Reads", ""), headers.get("Demo-Trips", "")),
            )
        )

    def leave(self) -> None:
        """Close the browser."""
        self._browser.close()
