"""The site's addresses."""

from __future__ import annotations

from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path

from lagless.demo.site import views

_login = LoginView.as_view(template_name="board/form.html", extra_context={"title": "Log in", "button": "Log in"})

urlpatterns = [
    path("", views.index, name="index"),
    path("t/<int:pk>/", views.thread, name="thread"),
    path("t/<int:pk>/reply/", views.reply, name="reply"),
    path("new/", views.start, name="start"),
    path("m/<int:pk>/edit/", views.edit, name="edit"),
    path("m/<int:pk>/like/", views.like, name="like"),
    path("u/<str:name>/", views.profile, name="profile"),
    path("signup/", views.signup, name="signup"),
    path("login/", _login, name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
]
