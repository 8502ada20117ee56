"""lagless for Django: a router, a middleware, thin database backends, checks and a management command.

DATABASES = lagless.django.databases({...primary...}, replicas={"replica1": {"HOST": "..."}})
DATABASE_ROUTERS = ["lagless.django.Router"]
MIDDLEWARE = ["lagless.django.Middleware", ...]
INSTALLED_APPS += ["lagless.django"]
LAGLESS = {"default": {"replicas": ["replica1"]}}
"""

from lagless.django.databases import databases
from lagless.django.middleware import Middleware
from lagless.django.registry import cluster
from lagless.django.router import Router
from lagless.tracking import mark_written

__all__ = ["Middleware", "Router", "cluster", "databases", "mark_written"]
