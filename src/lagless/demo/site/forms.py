"""What a reader can send."""

from __future__ import annotations

from typing import ClassVar

from django import forms

from lagless.demo.site.models import Message


class MessageForm(forms.ModelForm):  # type: ignore[type-arg]  # generic in the stubs only
    """A new message or the new text of an old one."""

    class Meta:
        """The text alone: author, thread and version are not the reader's to choose."""

        model = Message
        fields: ClassVar = ["text"]
        widgets: ClassVar = {"text": forms.Textarea(attrs={"rows": 4, "placeholder": "Write something"})}


class ThreadForm(MessageForm):
    """A title and the first message."""

    title = forms.CharField(max_length=120)
    field_order = ("title", "text")
