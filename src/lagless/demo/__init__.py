"""`lagless demo`: one small Django site under five routing policies on real PostgreSQL servers, judged from outside."""
