"""The pages; nothing in them knows how reads are routed."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from django.contrib.auth import login
from django.contrib.auth.decorators import login_required
from django.contrib.auth.forms import UserCreationForm
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import F
from django.http import Http404
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from lagless.demo.openings import LATEST_SHOWN
from lagless.demo.site import queries
from lagless.demo.site.forms import MessageForm, ThreadForm
from lagless.demo.site.models import Like, Message, Thread

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse


@require_GET
def index(request: HttpRequest) -> HttpResponse:
    """The threads with news."""
    return render(request, "board/index.html", {"threads": queries.newest_threads(), "totals": queries.totals()})


@require_GET
def thread(request: HttpRequest, pk: int) -> HttpResponse:
    """One thread's newest messages."""
    shown = get_object_or_404(Thread, pk=pk)
    context = {
        "thread": shown,
        "size": shown.messages.count(),
        "messages": queries.newest_messages(shown, request.user),
    }
    return render(request, "board/thread.html", context)


@require_GET
def profile(request: HttpRequest, name: str) -> HttpResponse:
    """One author's numbers and latest messages."""
    author = get_object_or_404(User, username=name)
    latest = author.messages.select_related("thread").order_by("-pk")[:LATEST_SHOWN]
    context = {"author": author, "latest": latest, **queries.achievements(author)}
    return render(request, "board/profile.html", context)


@require_http_methods(["GET", "POST"])
def signup(request: HttpRequest) -> HttpResponse:
    """Make an account and log in."""
    form: UserCreationForm[User] = UserCreationForm(request.POST or None)
    if form.is_valid():
        login(request, form.save())
        return redirect("index")
    return render(request, "board/form.html", {"form": form, "title": "Sign up", "button": "Sign up"})


@login_required
@require_http_methods(["GET", "POST"])
def start(request: HttpRequest) -> HttpResponse:
    """Start a thread with its first message."""
    form = ThreadForm(request.POST or None)
    if form.is_valid():
        return redirect(_start(cast("User", request.user), form))
    return render(request, "board/form.html", {"form": form, "title": "New thread", "button": "Start"})


@transaction.atomic
def _start(author: User, form: ThreadForm) -> Message:
    form.instance.thread = Thread.objects.create(title=form.cleaned_data["title"], author=author)
    form.instance.author = author
    return cast("Message", form.save())


@login_required
@require_POST
def reply(request: HttpRequest, pk: int) -> HttpResponse:
    """Write in a thread and be sent to its page: the read that follows a write at once."""
    answered = get_object_or_404(Thread, pk=pk)
    message = Message(thread=answered, author=cast("User", request.user))
    form = MessageForm(request.POST, instance=message)
    return redirect(form.save() if form.is_valid() else answered)


@login_required
@require_http_methods(["GET", "POST"])
def edit(request: HttpRequest, pk: int) -> HttpResponse:
    """Change one's own message."""
    message = get_object_or_404(Message, pk=pk, author=request.user)
    form = MessageForm(request.POST or None, instance=message)
    if form.is_valid():
        _replace(message, form.cleaned_data["text"])
        return redirect(message)
    return render(request, "board/form.html", {"form": form, "title": "Edit your message", "button": "Save"})


def _replace(message: Message, text: str) -> None:
    """The database counts the version up: the one that was read may be old."""
    if not Message.objects.filter(pk=message.pk).update(text=text, version=F("version") + 1):
        raise Http404


@login_required
@require_POST
def like(request: HttpRequest, pk: int) -> HttpResponse:
    """Like a message; liking it again changes nothing."""
    message = get_object_or_404(Message, pk=pk)
    Like.objects.get_or_create(message=message, user=cast("User", request.user))
    return redirect(message)
