"""The live collector: sockets in, durable records out."""
