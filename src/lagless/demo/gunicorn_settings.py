"""How gunicorn serves the demo's site. A file, because there gunicorn ignores what an older version does not know."""

workers = 2
threads = 8
keepalive = 30
graceful_timeout = 2
loglevel = "warning"
control_socket_disable = True
