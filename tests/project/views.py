"""Views that say where they read."""

import asyncio

from asgiref.sync import sync_to_async
from django.db import connection, router, transaction
from django.http import HttpResponse, HttpResponseRedirect, JsonResponse, StreamingHttpResponse

import lagless
from project.models import Note


def where():
    """Return the alias a read goes to here."""
    return router.db_for_read(Note)


def post(request):
    """Write a note and redirect to it."""
    note = Note.objects.create(text=request.POST["text"])
    return HttpResponseRedirect(f"/note/{note.pk}")


def note(request, pk):
    """Show a note; 404 if it cannot be seen."""
    found = Note.objects.filter(pk=pk).first()
    answer = {"alias": where(), "text": found.text if found else None}
    return JsonResponse(answer, status=200 if found else 404)


def read(request):
    """Read something."""
    return JsonResponse({"alias": where(), "count": Note.objects.count()})


def plain(request):
    """Touch no database."""
    return HttpResponse("plain")


def write_in_get(request):
    """Write although the method is safe, then read."""
    before = where()
    Note.objects.create(text="from a GET")
    return JsonResponse({"before": before, "after": where(), "count": Note.objects.count()})


def fails(request):
    """Commit a write, then fail."""
    Note.objects.create(text=request.POST["text"])
    raise RuntimeError("after the commit")


@transaction.non_atomic_requests
def not_atomic(request):
    """Open a block of its own."""
    with transaction.atomic():
        return JsonResponse({"alias": where()})


def atomic_state(request):
    """Tell whether the primary was opened, after a read."""
    count = Note.objects.count()
    return JsonResponse({"alias": where(), "connected": connection.connection is not None, "count": count})


def nested_atomic(request):
    """Open blocks inside the request's."""
    try:
        with transaction.atomic():
            Note.objects.create(text="rolled back")
            raise LookupError
    except LookupError:
        pass
    with transaction.atomic():
        Note.objects.create(text="kept")
    return JsonResponse({"texts": sorted(Note.objects.values_list("text", flat=True))})


def stream(request):
    """Read while the body is produced."""

    def body():
        yield where()
        yield f" {Note.objects.count()}"

    return StreamingHttpResponse(body())


def stream_scope(request):
    """Read inside a scope that stays open from one step of the body to the next."""

    def body():
        with lagless.primary():
            yield where()
            yield f" {where()}"

    return StreamingHttpResponse(body())


def stream_write(request):
    """Write while the body is produced."""

    def body():
        Note.objects.create(text="late")
        yield "done"

    return StreamingHttpResponse(body())


async def astream(request):
    """Read while the body is produced, on the event loop."""

    async def body():
        yield where()
        yield f" {await Note.objects.acount()}"

    return StreamingHttpResponse(body())


async def apost(request):
    """Write a note, asynchronously."""
    note = await Note.objects.acreate(text=request.POST["text"])
    return HttpResponseRedirect(f"/anote/{note.pk}")


async def anote(request, pk):
    """Show a note, asynchronously."""
    found = await Note.objects.filter(pk=pk).afirst()
    answer = {"alias": where(), "text": found.text if found else None}
    return JsonResponse(answer, status=200 if found else 404)


async def gather(request):
    """Write in one task while others read: afterwards all of them see it."""
    before = where()
    await asyncio.gather(*(Note.objects.acreate(text=f"task {n}") for n in range(3)))
    aliases = await asyncio.gather(*(sync_to_async(where)() for _ in range(3)))
    return JsonResponse({"before": before, "aliases": aliases, "count": await Note.objects.acount()})


def login(request):
    """Start a framework session."""
    request.session["name"] = request.POST["name"]
    return HttpResponse("in")


def whoami(request):
    """Read the framework session."""
    return JsonResponse({"name": request.session.get("name"), "alias": where()})
