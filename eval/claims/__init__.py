"""The paper's claims, decided from scores."""
