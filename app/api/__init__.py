"""The native HTTP API: one file a resource, and the shapes that go over the wire in `schemas`."""
