"""Forms as HTML and back."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl

from fastapi import HTTPException, Request
from markupsafe import Markup

_LONGEST, _TEXT = 120, 2000  # characters
_REFUSED = 400


async def sent(request: Request) -> dict[str, str]:
    """The fields of a form that a browser sends."""
    return dict(parse_qsl((await request.body()).decode()))


def taken(sent: dict[str, str], name: str) -> str:
    """A field that must not be empty, nor longer than the page lets it be; else HTTPException."""
    value = sent.get(name, "")
    if not 0 < len(value) <= (_TEXT if name == "text" else _LONGEST):
        raise HTTPException(_REFUSED, f"{name}: too short or too long")
    return value


@dataclass(frozen=True, slots=True)
class Field:
    """One line of a form, or several (`kind` "textarea")."""

    name: str
    label: str
    kind: str = "text"
    value: str = ""

    def __html__(self) -> str:
        if self.kind == "textarea":
            box = Markup('<textarea name="{}" rows="4" maxlength="{}" required>{}</textarea>')
            return box.format(self.name, _TEXT, self.value)
        line = Markup('<input name="{}" type="{}" value="{}" maxlength="{}" required>')
        return line.format(self.name, self.kind, self.value, _LONGEST)


@dataclass(frozen=True, slots=True)
class Form:
    """What a page asks for, and what was wrong with what it got."""

    title: str
    button: str
    fields: tuple[Field, ...]

    def page(self, error: str = "") -> dict[str, object]:
        """What the template shows."""
        wrong = Markup('<p class="errorlist">{}</p>').format(error) if error else Markup()
        lines = Markup().join(Markup("<p><label>{} {}</label></p>").format(each.label, each) for each in self.fields)
        return {"title": self.title, "button": self.button, "form": wrong + lines}


SIGN_UP = Form(
    "Sign up",
    "Sign up",
    (Field("username", "Name"), Field("password1", "Password", "password"), Field("password2", "Again", "password")),
)
LOG_IN = Form("Log in", "Log in", (Field("username", "Name"), Field("password", "Password", "password")))
START = Form("New thread", "Start", (Field("title", "Title"), Field("text", "Text", "textarea")))


def edit(text: str) -> Form:
    """The form that shows a message to its author."""
    return Form("Edit your message", "Save", (Field("text", "Text", "textarea", text),))
