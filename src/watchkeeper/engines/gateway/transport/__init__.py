"""HTTP/1.1 towards upstreams: connections on httptools and the pool that keeps them."""
