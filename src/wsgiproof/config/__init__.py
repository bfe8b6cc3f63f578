"""What was asked for: options, the file, its schema, and the matrix of cells that comes of it."""
