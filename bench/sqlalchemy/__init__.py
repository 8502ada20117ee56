"""SQLAlchemy, FastAPI and Flask, over real PostgreSQL servers."""
