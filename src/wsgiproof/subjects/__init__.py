"""What is under test: PyMongo, and the planted faults that prove that wsgiproof sees them."""
