"""The real servers of a cell: a MongoDB deployment and Apache."""
