"""The security service of the back-end: who a request comes from, and whether that is proven."""
