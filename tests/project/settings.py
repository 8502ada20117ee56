"""Settings for running the project's own Django tests over servers named by the environment."""

import json
import os

import lagless.django

servers = json.loads(os.environ["PROJECT_SERVERS"])

SECRET_KEY = "integration"
USE_TZ = True
ROOT_URLCONF = "project.urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = lagless.django.databases(servers["primary"], servers["replicas"])
DATABASE_ROUTERS = ["lagless.django.Router"]
MIDDLEWARE = ["lagless.django.Middleware", "django.contrib.sessions.middleware.SessionMiddleware"]
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
    "lagless.django",
    "project",
]
LAGLESS = {"default": {"replicas": list(servers["replicas"])}}
