"""People who sign in: their accounts, passwords, roles and tenants."""
