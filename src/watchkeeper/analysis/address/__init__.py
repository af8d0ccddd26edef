"""How each language marks the way it addresses a person: one file of rules a language."""
