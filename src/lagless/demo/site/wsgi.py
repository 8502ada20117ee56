"""The site for a WSGI server."""

from __future__ import annotations

import os

from django.core.wsgi import get_wsgi_application

from lagless.demo import instrument
from lagless.demo.site import wire

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lagless.demo.site.settings")
application = instrument.wsgi(get_wsgi_application())
wire.install()
