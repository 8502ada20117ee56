"""The demo's FastAPI site: the same message board over asynchronous SQLAlchemy, for every routing policy."""
