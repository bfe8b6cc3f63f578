"""What is under test, and the planted faults that prove that wsgiproof sees what goes wrong."""
