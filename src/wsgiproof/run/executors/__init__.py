"""What runs cells: processes of this machine, or a Dask cluster."""
