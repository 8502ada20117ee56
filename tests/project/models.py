"""Models with the relations whose reads people get wrong."""

from django.db import models


class Author(models.Model):
    """Somebody who writes notes."""

    name = models.CharField(max_length=40, unique=True)

    class Meta:
        app_label = "project"


class Tag(models.Model):
    """A label on notes."""

    name = models.CharField(max_length=40)

    class Meta:
        app_label = "project"


class Note(models.Model):
    """A text of an author."""

    author = models.ForeignKey(Author, models.CASCADE, related_name="notes", null=True)
    text = models.CharField(max_length=200)
    tags = models.ManyToManyField(Tag)

    class Meta:
        app_label = "project"
