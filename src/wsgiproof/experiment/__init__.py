"""The phases of one cell, and the readings and the load that they are made of."""
