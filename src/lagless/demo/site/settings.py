"""The site's settings: one file for all policies, told apart by one environment variable."""

from __future__ import annotations

import os
from pathlib import Path

from lagless import demo
from lagless.demo.configuration import VARIABLE, SiteConfiguration
from lagless.demo.site.routing import NOWHERE, routing

SITE = SiteConfiguration.load(os.environ[VARIABLE]) if VARIABLE in os.environ else NOWHERE

SECRET_KEY = SITE.secret_key
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
ROOT_URLCONF = "lagless.demo.site.urls"
USE_TZ = True
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {"django.request": {"handlers": ["console"], "level": "ERROR"}},
}

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "lagless.demo.site.apps.BoardConfig",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.jinja2.Jinja2",
        "DIRS": [Path(demo.__file__).with_name("templates")],
        "OPTIONS": {
            "context_processors": [
                "django.contrib.auth.context_processors.auth",
                "lagless.demo.instrument.how_served",
            ]
        },
    }
]

LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "index"
LOGOUT_REDIRECT_URL = "index"
# The accounts live for a minute: a slow hash would only take the two cores away from what is measured.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

_routing = routing(SITE)
INSTALLED_APPS += _routing.pop("INSTALLED_APPS", [])
MIDDLEWARE = [*_routing.pop("MIDDLEWARE", []), *MIDDLEWARE]
globals().update(_routing)
