"""HTTP/1.1 towards clients: protocols on httptools that speak ASGI to the doors, and the server that holds them."""
