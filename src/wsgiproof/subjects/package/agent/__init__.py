"""The part of a package that has no code of its own inside Apache: its application has it all."""
