"""What people brought, one file for each kind of trouble: the next report of a kind has its place here."""
