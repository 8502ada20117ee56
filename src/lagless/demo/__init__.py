"""`lagless demo`: one small site under five routing policies on real servers, judged from outside."""
