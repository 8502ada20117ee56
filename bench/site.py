"""The site that every contestant serves: one model and two views in both colours."""

from __future__ import annotations

from django.db import models
from django.http import HttpRequest, HttpResponse
from django.urls import path


class Page(models.Model):
    """A row to read."""

    title = models.TextField()
    body = models.TextField()

    class Meta:
        """No installed app: the model is all there is."""

        app_label = "bench"

    def __str__(self) -> str:
        return self.title


def nothing(request: HttpRequest) -> HttpResponse:  # noqa: ARG001 - Django's signature
    """Read nothing."""
    return HttpResponse("ok")


def row(request: HttpRequest) -> HttpResponse:  # noqa: ARG001
    """Read one row."""
    return HttpResponse(Page.objects.get(pk=1).title)


async def async_nothing(request: HttpRequest) -> HttpResponse:  # noqa: ARG001
    """Read nothing."""
    return HttpResponse("ok")


async def async_row(request: HttpRequest) -> HttpResponse:  # noqa: ARG001
    """Read one row."""
    page = await Page.objects.aget(pk=1)
    return HttpResponse(page.title)


urlpatterns = [
    path("sync/nothing", nothing),
    path("sync/row", row),
    path("async/nothing", async_nothing),
    path("async/row", async_row),
]
