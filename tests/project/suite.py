"""A user's own Django tests, run by Django's runner: nothing here knows that there are replicas, but the last class."""

import time

from django.db import router
from django.test import TestCase, TransactionTestCase

import lagless
from project.models import Author, Note


class Ordinary(TestCase):
    """Rows live in the test's transaction."""

    @classmethod
    def setUpTestData(cls):
        """Make a note for all tests."""
        cls.note = Note.objects.create(text="class", author=Author.objects.create(name="anna"))

    def test_rows_are_seen(self):
        """ORM, relations and sessions see the test's rows."""
        Note.objects.create(text="test")
        with lagless.session():
            self.assertEqual(Note.objects.count(), 2)
            self.assertEqual(Author.objects.get().notes.count(), 1)

    def test_requests(self):
        """The test client sees what it posted; no cookie of lagless's disturbs."""
        path = self.client.post("/post", {"text": "posted"}).headers["Location"]
        self.assertEqual(self.client.get(path).json(), {"alias": "default", "text": "posted"})

    def test_query_count(self):
        """lagless's own queries are not the application's."""
        with self.assertNumQueries(1), lagless.session():
            Note.objects.create(text="one")


class Committing(TransactionTestCase):
    """Rows are committed; replicas are not listed."""

    def test_rows_are_seen(self):
        """Reads go to the primary."""
        path = self.client.post("/post", {"text": "posted"}).headers["Location"]
        self.assertEqual(self.client.get(path).json(), {"alias": "default", "text": "posted"})


class Listing(TransactionTestCase):
    """Replicas are listed: reads are routed as in production."""

    databases = {"default", "replica1", "replica2"}

    def test_reads_are_routed(self):
        """A replica serves, and never before it shows what was posted."""
        path = self.client.post("/post", {"text": "posted"}).headers["Location"]
        deadline = time.monotonic() + 10
        while True:
            answer = self.client.get(path).json()
            self.assertEqual(answer["text"], "posted")
            if answer["alias"] != "default":
                break
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)

    def test_scope(self):
        """The scopes work, too."""
        with lagless.session(), lagless.primary():
            self.assertEqual(router.db_for_read(Note), "default")
