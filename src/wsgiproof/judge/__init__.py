"""Records in, findings out: pure, without I/O and without a clock."""
