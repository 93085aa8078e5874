"""A user's own data: looked through for problems, then brought into the project's layouts."""
