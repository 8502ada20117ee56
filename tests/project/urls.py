"""Routes of the test project."""

from django.urls import path

from project import views

urlpatterns = [
    path("post", views.post),
    path("note/<int:pk>", views.note),
    path("read", views.read),
    path("plain", views.plain),
    path("write-in-get", views.write_in_get),
    path("fails", views.fails),
    path("not-atomic", views.not_atomic),
    path("atomic-state", views.atomic_state),
    path("nested-atomic", views.nested_atomic),
    path("stream", views.stream),
    path("stream-scope", views.stream_scope),
    path("stream-write", views.stream_write),
    path("astream", views.astream),
    path("apost", views.apost),
    path("anote/<int:pk>", views.anote),
    path("gather", views.gather),
    path("login", views.login),
    path("whoami", views.whoami),
]
