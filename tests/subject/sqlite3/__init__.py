"""SQLite as a subject, to prove that a subject is a folder."""
