"""Notes over Flask and Flask-SQLAlchemy: replicas are read, and everybody sees what they wrote.

Run it with `flask --app flask_app run`; DATABASE_URL, REPLICA_URLS (joined by commas) and SECRET_KEY are taken from
the environment.
"""

import os

from flask import Blueprint, Flask, redirect, request, url_for
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import String, select
from sqlalchemy.orm import Mapped, mapped_column
from werkzeug.wrappers import Response

from lagless.flask import Lagless, primary

db = SQLAlchemy()
routing = Lagless(db=db)
notes = Blueprint("notes", __name__)


class Note(db.Model):  # type: ignore[name-defined, misc]
    """What somebody wrote."""

    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(String(200))


@notes.post("/notes")
def write() -> Response:
    """Write a note, and show it."""
    note = Note(text=request.form["text"])
    db.session.add(note)
    db.session.commit()
    return redirect(url_for("notes.show", number=note.id), 303)


@notes.get("/notes/<int:number>")
def show(number: int) -> dict[str, str]:
    """Show a note: read from a replica that has what this browser wrote."""
    return {"text": db.get_or_404(Note, number).text}


@notes.get("/notes")
def index() -> list[str]:
    """List all notes."""
    return list(db.session.scalars(select(Note.text).order_by(Note.id)))


@notes.get("/audit")
@primary
def audit() -> list[str]:
    """List all notes, also those that others have just written."""
    return index()


def create_app() -> Flask:
    """Return the application."""
    replicas = {f"replica{number}": url for number, url in enumerate(os.environ["REPLICA_URLS"].split(","), 1)}
    app = Flask(__name__)
    app.config.update(
        SECRET_KEY=os.environ["SECRET_KEY"],
        SQLALCHEMY_DATABASE_URI=os.environ["DATABASE_URL"],
        SQLALCHEMY_BINDS=replicas,
        LAGLESS={"default": {"replicas": list(replicas)}},
    )
    db.init_app(app)
    routing.init_app(app)
    app.register_blueprint(notes)
    with app.app_context():
        db.create_all(bind_key=None)
    return app
