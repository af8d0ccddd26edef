"""What stands behind an answer: chunks looked for in recorded requests, and sentences laid over them."""
