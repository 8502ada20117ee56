"""The site for an ASGI server."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

from lagless.demo import instrument
from lagless.demo.site import wire

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lagless.demo.site.settings")
application = instrument.asgi(get_asgi_application())
wire.install()
