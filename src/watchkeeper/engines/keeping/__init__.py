"""The engine that decides what is kept, takes away what is not, and makes copies that can be trusted."""
