"""Custom data: checked for problems, then imported into the project's layouts."""
