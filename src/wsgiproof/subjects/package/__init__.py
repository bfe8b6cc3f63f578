"""Any package, by an application that uses it: there is nothing beside that application."""
