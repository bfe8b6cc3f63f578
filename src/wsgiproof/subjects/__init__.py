"""What can be tested, and the planted faults that prove that wsgiproof sees them."""
