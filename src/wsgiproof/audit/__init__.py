"""What installed packages do in interpreters that are not the only ones, without Apache."""
