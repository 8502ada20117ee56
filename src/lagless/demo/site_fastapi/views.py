"""The pages; nothing in them knows how reads are routed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.templating import Jinja2Templates
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from lagless import demo
from lagless.demo.instrument import how_served
from lagless.demo.site_fastapi import accounts, forms, queries
from lagless.demo.site_fastapi.accounts import COOKIE
from lagless.demo.site_fastapi.tables import Like, Message, Thread, User

router = APIRouter(default_response_class=HTMLResponse)
_templates = Jinja2Templates(Path(demo.__file__).with_name("templates"), context_processors=[how_served])
_FOUND, _MISSING = 302, 404


# -- What a page is given


async def database(request: Request) -> AsyncIterator[AsyncSession]:
    """A session over the databases for one request."""
    async with request.app.state.sessions() as session:
        yield session


Database = Annotated[AsyncSession, Depends(database)]


async def reader(request: Request, session: Database) -> User | None:
    """Who asks."""
    return await accounts.reader_of(session, request.cookies.get(COOKIE))


Reader = Annotated[User | None, Depends(reader)]


async def member(user: Reader) -> User:
    """Who asks, if that is somebody; else they are led to where they can log in."""
    if user is None:
        raise HTTPException(_FOUND, headers={"Location": "/login/"})
    return user


Member = Annotated[User, Depends(member)]
Sent = Annotated[dict[str, str], Depends(forms.sent)]


# -- Pages


@router.get("/")
async def index(request: Request, session: Database, user: Reader) -> Response:
    """The threads with news."""
    threads = (await session.execute(queries.newest_threads())).all()
    totals = {"threads": await session.scalar(queries.threads()), "messages": await session.scalar(queries.messages())}
    return _page(request, "index", user, threads=threads, totals=totals)


@router.get("/t/{pk}/")
async def thread(request: Request, session: Database, user: Reader, pk: int) -> Response:
    """One thread's newest messages."""
    shown = await _thread(session, pk)
    size = await session.scalar(queries.size(pk))
    messages = (await session.execute(queries.newest_messages(pk, user.id if user else None))).all()
    return _page(request, "thread", user, thread=shown, size=size, messages=messages)


@router.get("/u/{name}/")
async def profile(request: Request, session: Database, user: Reader, name: str) -> Response:
    """One author's numbers and latest messages."""
    author = await session.scalar(select(User).where(User.username == name))
    if author is None:
        raise HTTPException(_MISSING)
    posts, likes = await session.scalar(queries.posts(author.id)), await session.scalar(queries.received(author.id))
    latest = (await session.execute(queries.latest_messages(author.id))).all()
    return _page(request, "profile", user, author=author, posts=posts, likes=likes, latest=latest)


@router.get("/signup/")
async def signup_form(request: Request, user: Reader) -> Response:
    """Where an account is made."""
    return _page(request, "form", user, **forms.SIGN_UP.page())


@router.get("/login/")
async def login_form(request: Request, user: Reader) -> Response:
    """Where a reader who has an account comes in."""
    return _page(request, "form", user, **forms.LOG_IN.page())


@router.get("/new/")
async def start_form(request: Request, user: Member) -> Response:
    """Where a thread is started."""
    return _page(request, "form", user, **forms.START.page())


@router.get("/m/{pk}/edit/")
async def edit_form(request: Request, session: Database, user: Member, pk: int) -> Response:
    """Where one's own message is changed."""
    message = await _own(session, user, pk)
    return _page(request, "form", user, **forms.edit(message.text).page())


# -- Deeds


@router.post("/signup/")
async def signup(request: Request, session: Database, user: Reader, sent: Sent) -> Response:
    """Make an account and log in."""
    name, password = forms.taken(sent, "username"), forms.taken(sent, "password1")
    taken = await session.scalar(select(User.id).where(User.username == name))
    if taken or password != sent.get("password2"):
        return _page(request, "form", user, **forms.SIGN_UP.page("Take another name, and type one password twice."))
    account = insert(User).values(username=name, password=accounts.hashed(password)).returning(User.id)
    return await _welcome(session, (await session.execute(account)).scalar_one())


@router.post("/login/")
async def login(request: Request, session: Database, user: Reader, sent: Sent) -> Response:
    """Let somebody in who knows the password."""
    account = await session.scalar(select(User).where(User.username == sent.get("username", "")))
    if account is None or not accounts.matches(sent.get("password", ""), account.password):
        return _page(request, "form", user, **forms.LOG_IN.page("No account has this name and password."))
    return await _welcome(session, account.id)


@router.post("/logout/")
async def logout(request: Request, session: Database) -> Response:
    """Forget the browser."""
    await accounts.log_out(session, request.cookies.get(COOKIE, ""))
    await session.commit()
    response = _to("/")
    response.delete_cookie(COOKIE)
    return response


@router.post("/new/")
async def start(session: Database, user: Member, sent: Sent) -> Response:
    """Start a thread with its first message."""
    title, text = forms.taken(sent, "title"), forms.taken(sent, "text")
    pk = (await session.execute(queries.start(user.id, title))).scalar_one()
    return await _say(session, user, pk, text)


@router.post("/t/{pk}/reply/")
async def reply(session: Database, user: Member, pk: int, sent: Sent) -> Response:
    """Write in a thread and be sent to its page: the read that follows a write at once."""
    text = forms.taken(sent, "text")
    return await _say(session, user, (await _thread(session, pk)).id, text)


@router.post("/m/{pk}/edit/")
async def edit(session: Database, user: Member, pk: int, sent: Sent) -> Response:
    """Change one's own message."""
    text = forms.taken(sent, "text")
    message = await _own(session, user, pk)
    await session.execute(queries.replace(pk, text))
    await session.commit()
    return _to(_place(message.thread_id, pk))


@router.post("/m/{pk}/like/")
async def like(session: Database, user: Member, pk: int) -> Response:
    """Like a message; liking it again changes nothing."""
    message = await session.get(Message, pk)
    if message is None:
        raise HTTPException(_MISSING)
    try:
        await session.execute(insert(Like).values(message_id=pk, user_id=user.id))
        await session.commit()
    except IntegrityError:
        await session.rollback()
    return _to(_place(message.thread_id, pk))


# -- Steps


async def _thread(session: AsyncSession, pk: int) -> Thread:
    found = await session.get(Thread, pk)
    if found is None:
        raise HTTPException(_MISSING)
    return found


async def _own(session: AsyncSession, user: User, pk: int) -> Message:
    found = await session.get(Message, pk)
    if found is None or found.author_id != user.id:
        raise HTTPException(_MISSING)
    return found


async def _say(session: AsyncSession, user: User, to: int, text: str) -> Response:
    message = (await session.execute(queries.say(user.id, to, text))).scalar_one()
    await session.commit()
    return _to(_place(to, message))


async def _welcome(session: AsyncSession, user: int) -> Response:
    key = await accounts.log_in(session, user)
    await session.commit()
    response = _to("/")
    response.set_cookie(COOKIE, key, httponly=True, samesite="lax")
    return response


def _page(request: Request, name: str, user: User | None, **context: object) -> Response:
    return _templates.TemplateResponse(request, f"board/{name}.html", {"user": user, **context})


def _place(thread: int, message: int) -> str:
    return f"/t/{thread}/#m{message}"


def _to(where: str) -> RedirectResponse:
    return RedirectResponse(where, _FOUND)
